// SPDX-License-Identifier: Apache-2.0
// An injection by programs/tighten-fault.cc, which has something happen before one of its steps.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { beforeAll } from 'vitest';
import { everyones } from './everyones.ts';
import { buildFaultProgram, nextTurn, type Victim } from './victim.ts';

/** Before any change: the end of the tracer lets the process go. */
export const harmless = ['seize', 'foresee', 'save', 'exitkill'];

let faultProgram: string;

/** Builds the program. */
export function useFaults(): void {
  beforeAll(() => {
    faultProgram = buildFaultProgram();
    // The compiler takes its time on a machine that has other work.
  }, 600_000);
}

export interface Run {
  readonly said: string;
  readonly steps: readonly string[];
  readonly signal: NodeJS.Signals | null;
}

export type Way = 'together' | 'by-thread' | 'with-role' | 'landlock';

export async function inject(
  victim: Victim,
  step: string,
  event: string,
  uid?: number,
  way: Way = 'together',
): Promise<Run> {
  const program = uid === undefined ? faultProgram : everyones(faultProgram);
  const child = spawn(program, [String(victim.pid), step, event, way], {
    stdio: ['ignore', 'pipe', 'pipe'],
    ...(uid === undefined ? {} : { uid, gid: uid }),
  });
  const [said, steps] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'exit')]);
  return { said: said.trim(), steps: steps.trim().split('\n'), signal: child.signalCode };
}

export async function untraced(victim: Victim): Promise<void> {
  while (victim.threads().some(({ tracer, state }) => tracer !== 0 || state === 't')) await nextTurn();
}
