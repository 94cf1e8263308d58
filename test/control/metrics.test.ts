// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { metricsText } from '../../core/control/metrics.ts';

test('counters are told as Prometheus reads them, labels escaped', () => {
  const status = {
    pid: 7,
    vmm: 'q"emu\\',
    stage: 'running',
    stages: ['start', 'running'],
    threads: [],
    broker: { pid: 8, alive: true, allowed: 5, denied: 2, pending: 1, restarts: 3 },
    grants: [],
    programs: [],
    mayGrant: [],
  };
  const text = metricsText([{ status }]);
  for (const line of text.trimEnd().split('\n'))
    expect(line).toMatch(
      /^(?:# (?:HELP|TYPE) \w+ .+|\w+\{\w+="(?:[^"\\]|\\["\\n])*"(?:,\w+="(?:[^"\\]|\\["\\n])*")*\} \d+)$/,
    );
  expect(text).toContain('ratchet_broker_allowed_total{vmm="q\\"emu\\\\",pid="7"} 5\n');
  expect(text).toContain('ratchet_stage{vmm="q\\"emu\\\\",pid="7",stage="running"} 1\n');
  expect(text).toContain('# TYPE ratchet_broker_restarts_total counter\n');

  const ofTwo = metricsText(['one', 'two'].map((member) => ({ status, labels: { member } })));
  expect(ofTwo.match(/# TYPE ratchet_stage gauge/g)).toHaveLength(1);
  expect(ofTwo).toContain('ratchet_broker_allowed_total{vmm="q\\"emu\\\\",pid="7",member="two"} 5\n');
});
