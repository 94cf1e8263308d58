// SPDX-License-Identifier: Apache-2.0
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { packagePath } from '../../native/package-path.ts';

test('CONTINUE is used where the policy itself, which looks at registers alone, allows the call, and in soak, and for the one program, by count', () => {
  const folder = packagePath('brokers');
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts'));
  const uses = files.flatMap((name) =>
    readFileSync(join(folder, name), 'utf8')
      .split('\n')
      .filter((line) => /kind: 'continue'|answerContinue/.test(line))
      .map((line) => `${name}: ${line.trim()}`),
  );
  expect(uses.sort()).toEqual([
    'notify/caller.ts: answerContinue(): boolean {',
    "notify/caller.ts: return this.#answer({ kind: 'continue' });",
    'notify/execveat.ts: if (call.broker.programs.take()) call.caller.answerContinue();',
    'notify/loop.ts: caller.answerContinue();',
    "notify/policy-refusal.ts: reportRefusal(call, refusal, 'permitted', () => call.caller.answerContinue());",
  ]);
  const loop = readFileSync(join(folder, 'notify/loop.ts'), 'utf8');
  expect(loop).toMatch(/case 'allow':\n\s+case 'log':\n\s+caller\.answerContinue\(\);\n\s+return;/);
  // In soak only what an errno of the policy, and so the registers alone, would have refused.
  expect(loop.match(/permitInSoak\(/g)).toHaveLength(1);
  expect(loop).toMatch(/case 'errno':\n.*\n\s+else if \(stage\.soak === true\) permitInSoak\(/);
});
