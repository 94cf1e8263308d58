// SPDX-License-Identifier: Apache-2.0
import { RatchetError } from '../errors.ts';
import type { Source } from './types.ts';

/** What can be wrong with a profile. Stable: `ratchet check --json` prints them. */
export const problemCodes = [
  'syntax',
  'unknown-key',
  'missing-key',
  'wrong-type',
  'wrong-value',
  'duplicate',
  'include-failed',
  'unknown-stage',
  'unknown-feature',
  'unknown-group',
  'unknown-program',
  'unknown-syscall',
  'other-architecture',
  'unknown-argument',
  'unknown-constant',
  'unknown-errno',
  'expression',
  'out-of-range',
  'never-true',
  'contradiction',
  'dangerous',
  'not-brokerable',
  'unreviewed',
  'address',
] as const;

export type ProblemCode = (typeof problemCodes)[number];

/** One fault of a profile and where it is. */
export interface Problem extends Source {
  readonly code: ProblemCode;
  readonly message: string;
}

/** PROFILE_INVALID with everything that was found wrong, in the order of files and lines. */
export class ProfileError extends RatchetError {
  readonly problems: readonly Problem[];

  constructor(problems: readonly Problem[]) {
    const sorted = [...problems].sort(
      (a, b) => Number(a.file > b.file) - Number(a.file < b.file) || a.line - b.line || a.column - b.column,
    );
    super('PROFILE_INVALID', sorted.map(formatProblem).join('\n'));
    this.problems = sorted;
  }
}

/** `file:line:column: message`, as compilers print it. */
export function formatProblem(problem: Problem): string {
  return `${formatSource(problem)}: ${problem.message}`;
}

export function formatSource({ file, line, column }: Source): string {
  return `${file}:${line}:${column}`;
}

/** Collects problems, so that one run shows all of them. */
export class ProblemList {
  readonly #problems: Problem[] = [];
  readonly #seen = new Set<string>();

  add(source: Source, code: ProblemCode, message: string): void {
    const problem = { file: source.file, line: source.line, column: source.column, code, message };
    const key = formatProblem(problem);
    if (this.#seen.has(key)) return;
    this.#seen.add(key);
    this.#problems.push(problem);
  }

  get count(): number {
    return this.#problems.length;
  }

  throwIfAny(): void {
    if (this.#problems.length > 0) throw new ProfileError(this.#problems);
  }
}
