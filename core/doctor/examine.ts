// SPDX-License-Identifier: Apache-2.0
import { spawnSync } from 'node:child_process';
import { z } from 'zod';
import { packagePath } from '../../native/package-path.ts';
import { errnoName } from '../errno-name.ts';
import { RatchetError } from '../errors.ts';
import { type Check, checks } from './checks.ts';

export interface Finding {
  readonly name: string;
  readonly title: string;
  readonly need: Check['need'];
  readonly works: boolean;
  /** By its POSIX name; empty where it works. */
  readonly errno: string;
  readonly detail: string;
  /** What is lost without it, and what to do about it; empty where it works. */
  readonly lost: string;
  readonly cure: string;
}

export interface Examination {
  /** Whether the shipped profile can be enforced fully here: nothing that ratchet must have or a full report needs is missing. */
  readonly ok: boolean;
  readonly findings: readonly Finding[];
}

const probeLine = z.strictObject({ probe: z.string(), errno: z.number().int().min(0), detail: z.string() });
type ProbeLine = z.infer<typeof probeLine>;

/**
 * Tries out, in processes of their own, what this kernel and this user can enforce. Takes about a second and leaves nothing behind.
 * @throws RatchetError SETUP_MISSING when the probing program is not there or does not run to its end.
 */
export function examine(): Examination {
  const answers = new Map(runProbes().map((line) => [line.probe, line]));
  const findings = checks.map((check) => judge(check, answers.get(check.probe)));
  return { ok: findings.every(({ works, need }) => works || need === 'feature'), findings };
}

function judge(check: Check, answer: ProbeLine | undefined): Finding {
  const { probe: name, title, need } = check;
  const { errno, detail } = answer ?? { errno: 38, detail: 'not probed' };
  if (errno === 0) return { name, title, need, works: true, errno: '', detail, lost: '', cure: '' };
  const errnoText = errnoName(errno);
  const cure = check.cures?.[errnoText] ?? check.cure;
  return { name, title, need, works: false, errno: errnoText, detail, lost: check.lost, cure };
}

/** What native/probe printed, line by line. */
export function runProbes(): readonly ProbeLine[] {
  const program = packagePath('build/Release/ratchet-probe');
  const { status, error, stdout } = spawnSync(program, [], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
  if (status !== 0) {
    throw new RatchetError('SETUP_MISSING', `${program} could not be run to its end`, {
      ...(error === undefined ? {} : { errno: (error as NodeJS.ErrnoException).code ?? 'EIO' }),
      next: 'build it with `npm run build:native`',
    });
  }
  return stdout
    .trimEnd()
    .split('\n')
    .map((line) => probeLine.parse(JSON.parse(line)));
}
