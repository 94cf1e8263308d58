// SPDX-License-Identifier: Apache-2.0
// The lines of a minijail policy: comments, continuations, @include one level deep, @default, @frequency, and one line a call.

import type { ProblemList } from '../../policy/problem.ts';
import type { Arch, Source } from '../../policy/types.ts';
import type { MinijailOptions } from './minijail.ts';

export interface Line extends Source {
  readonly names: readonly string[];
  /** Absent: on all. */
  readonly arches: readonly Arch[] | undefined;
  readonly filter: string;
  /** What the comment above the line, or behind it, says. */
  readonly comment: string;
}

export interface PolicyLines {
  readonly rules: readonly Line[];
  readonly fallback: (Source & { readonly text: string }) | undefined;
  /** What has no meaning in a profile, one sentence each. */
  readonly ignored: readonly string[];
}

const arches: Readonly<Record<string, Arch>> = {
  x86_64: 'x86_64',
  amd64: 'x86_64',
  aarch64: 'aarch64',
  arm64: 'aarch64',
  riscv64: 'riscv64',
};

const rule = /^(?:(?<name>\w+)|\{(?<list>[^}]*)\})\s*(?:\[\s*arch\s*=(?<arches>[^\]]*)\])?\s*:\s*(?<filter>.+)$/;

export function readLines(
  text: string,
  { file, include }: Pick<MinijailOptions, 'file' | 'include'>,
  problems: ProblemList,
): PolicyLines {
  const rules: Line[] = [];
  const ignored: string[] = [];
  let fallback: PolicyLines['fallback'];
  const read = (part: string, name: string, depth: number): void => {
    for (const { at, code, comment } of logicalLines(part, name)) {
      const [word = '', ...rest] = code.split(/\s+/);
      const value = rest.join(' ');
      if (word === '@include') {
        if (depth > 0) {
          problems.add(at, 'include-failed', 'an included file includes nothing itself: minijail reads one level');
          continue;
        }
        try {
          const included = include(value);
          read(included.text, included.file, depth + 1);
        } catch (error) {
          problems.add(
            at,
            'include-failed',
            `cannot include "${value}": ${error instanceof Error ? error.message : error}`,
          );
        }
      } else if (word === '@frequency') {
        ignored.push(`${at.file}:${at.line}: frequencies are not taken over; record a counts file instead`);
      } else if (word === '@default') {
        fallback = { ...at, text: value };
      } else if (word.startsWith('@')) {
        problems.add(at, 'syntax', `"${word}" is unknown: there are @include, @default and @frequency`);
      } else {
        addRule(code, at, comment);
      }
    }
  };
  read(text, file, 0);
  return { rules, fallback, ignored };

  function addRule(code: string, at: Source, comment: string): void {
    const groups = rule.exec(code)?.groups;
    if (groups === undefined) {
      problems.add(at, 'syntax', `"${code}" is no line of a policy such as "read: 1" or "ioctl: arg1 == TCGETS"`);
      return;
    }
    const names = (groups['name'] ?? groups['list'] ?? '').split(',').map((each) => each.trim());
    const written = groups['arches']?.split(',').map((each) => each.trim());
    for (const each of written ?? [])
      if (!Object.hasOwn(arches, each))
        ignored.push(`${at.file}:${at.line}: the architecture ${each} is not known here`);
    const known = written?.flatMap((each) => arches[each] ?? []);
    rules.push({ ...at, names, arches: known, filter: (groups['filter'] ?? '').trim(), comment });
  }
}

interface LogicalLine {
  readonly at: Source;
  readonly code: string;
  readonly comment: string;
}

/** Lines that end in a backslash go on in the next one. A comment belongs to the line below it or the one it stands on. */
function logicalLines(text: string, file: string): readonly LogicalLine[] {
  const found: LogicalLine[] = [];
  let comment: string[] = [];
  let held = '';
  let start = 0;
  for (const [index, line] of text.split('\n').entries()) {
    const [code = '', ...behind] = line.split('#');
    const told = behind.join('#').trim();
    const joined = `${held}${code}`.trimEnd();
    if (held === '') start = index + 1;
    if (joined.endsWith('\\')) {
      held = `${joined.slice(0, -1)} `;
      continue;
    }
    held = '';
    if (joined.trim() === '') {
      comment = told === '' && line.trim() === '' ? [] : [...comment, told];
      continue;
    }
    const all = [...comment, told].filter((each) => each !== '');
    found.push({ at: { file, line: start, column: 1 }, code: joined.trim(), comment: all.join(' ') });
    comment = [];
  }
  return found;
}
