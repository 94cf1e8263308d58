// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { EventStream, type SandboxEvent } from '../../core/launch/events.ts';
import { launchVmm } from '../../core/launch/launch.ts';
import { buildProgram } from '../native/build-program.ts';

const refusing = {
  version: 1,
  name: 'refusing',
  vmm: 'program',
  include: ['groups/start', 'groups/process', 'groups/never'],
  stages: {
    start: {
      why: 'a test',
      default: 'errno EPERM',
      unknown: 'errno ENOSYS quiet',
      foreign: 'kill-process',
      syscalls: [
        { use: ['never', 'no-programs', 'one-exec', 'next-stage', 'dynamic-linking', 'threads', 'memory', 'random'] },
        {
          allow: ['read', 'pread64', 'write', 'fstat', 'sendto', 'recvmsg'],
          risk: 'sendto could connect an unconnected socket, and there is none',
          why: 'libraries are read',
        },
      ],
    },
  },
};

test('a program that is refused a thousand calls and ends at once: all are told or counted, before its end is', async () => {
  const calls = 1000;
  const events = new EventStream();
  const told: SandboxEvent[] = [];
  const reading = (async () => {
    for await (const event of events) told.push(event);
  })();
  {
    const command: [string, string] = [buildProgram('refused', 'test/launch/programs'), String(calls)];
    await using sandbox = await launchVmm({ command, profile: refusing, events });
    expect(await sandbox.exited).toMatchObject({ code: 0 });
  }
  await reading;
  const refusals = told.filter(({ type, syscall }) => type === 'refusal' && syscall === 'getpgrp').length;
  const counted = told
    .filter(({ what }) => what === 'refusals that were counted only')
    .map(({ count }) => Number(count));
  expect(refusals).toBeGreaterThan(100);
  expect(refusals + counted.reduce((sum, count) => sum + count, 0)).toBe(calls);
  expect(told.at(-1)).toMatchObject({ type: 'exit' });
});
