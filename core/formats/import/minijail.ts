// SPDX-License-Identifier: Apache-2.0
// A minijail .policy file (ChromeOS, crosvm, Android) as a profile.
//
// What the source means (minijail's syscall_filter.c): one line a call; `&&` binds closer than `||`; all comparisons are on 64 bits; `arg in MASK` holds
// when no other bits are set, `arg & MASK` when any of them is; where no test holds the call gets the line's own `return`, or else the default.

import { neverBrokered } from '../../policy/dangerous.ts';
import { ExpressionError } from '../../policy/expression/error.ts';
import { ProblemList } from '../../policy/problem.ts';
import type { Action, Arch } from '../../policy/types.ts';
import { errnoName, errnoNumber, syscallNumber } from '../../tables/index.ts';
import { type CallRule, profileText, simplified } from './call-rules.ts';
import { type Line, readLines } from './minijail-lines.ts';
import { conditionText } from './minijail-tests.ts';
import type { ImportOptions, ImportResult } from './oci.ts';

export interface MinijailOptions extends ImportOptions {
  /** Reads a file that `@include` names, by the path as written. Throws when there is none. */
  readonly include: (path: string) => { readonly text: string; readonly file: string };
}

/** Translates the text for one architecture. Throws PROFILE_INVALID with file and line of everything that is wrong. */
export function importMinijail(text: string, options: MinijailOptions): ImportResult {
  const { file, arch } = options;
  const problems = new ProblemList();
  const losses: string[] = [];
  const { rules: lines, fallback, ignored } = readLines(text, options, problems);
  losses.push(...ignored);
  const otherwise = fallback === undefined ? undefined : actionOf(fallback.text, fallback, problems);
  if (otherwise === undefined)
    losses.push('calls without a line kill the process; minijail kills the thread unless it is told otherwise');
  const seen = new Map<string, Line>();
  const context: Context = { arch, losses, problems, wideTests: { count: 0 } };
  const rules = lines.flatMap((line) =>
    line.names.flatMap((name): readonly CallRule[] => {
      if (line.arches !== undefined && !line.arches.includes(arch)) return [];
      const before = seen.get(name);
      if (before !== undefined) {
        problems.add(
          line,
          'contradiction',
          `${name} has a line already, at ${before.file}:${before.line}: join them with ||`,
        );
        return [];
      }
      seen.set(name, line);
      if (syscallNumber(arch, name) !== undefined) return callRules(name, line, context);
      losses.push(`${line.file}:${line.line}: ${name} is no system call of ${arch}, left out`);
      return [];
    }),
  );
  problems.throwIfAny();
  if (context.wideTests.count > 0)
    losses.push(
      `${context.wideTests.count} tests look at all 64 bits of arguments that the kernel takes as 32 bits, as minijail does: write the argument without u64() to ignore the high half`,
    );
  return { profileText: profileText(file, { otherwise: otherwise ?? { kind: 'kill-process' } }, rules), losses };
}

interface Context {
  readonly arch: Arch;
  readonly losses: string[];
  readonly problems: ProblemList;
  readonly wideTests: { count: number };
}

function callRules(name: string, line: Line, context: Context): readonly CallRule[] {
  const { arch, losses, problems, wideTests } = context;
  const where = `${line.file}:${line.line}`;
  const why = line.comment === '' ? `from ${where}` : `${line.comment} (${where})`;
  const whole = wholeAction(line.filter);
  if (whole !== undefined) {
    const action = actionOf(whole, line, problems);
    if (action?.kind === 'broker' && neverBrokered.has(name)) {
      losses.push(`${where}: ${name} can never be brokered, left out`);
      return [];
    }
    return action === undefined ? [] : [{ name, action, why, when: undefined }];
  }
  const [tests = '', ...rest] = line.filter.split(';').map((part) => part.trim());
  const last = rest[0] === undefined || rest[0] === '' ? undefined : actionOf(rest[0], line, problems);
  const otherwise: readonly CallRule[] = last === undefined ? [] : [{ name, action: last, why, when: 'otherwise' }];
  const always = (action: Action): readonly CallRule[] => [{ name, action, why, when: undefined }];
  try {
    const when = simplified(conditionText(tests, { arch, syscall: name, wideTests }), { arch, syscall: name });
    if (when === 'always') return always({ kind: 'allow' });
    if (when !== 'never') return [{ name, action: { kind: 'allow' }, why, when }, ...otherwise];
    losses.push(`${where}: the test of ${name} can never hold, left out`);
  } catch (error) {
    if (!(error instanceof ExpressionError)) throw error;
    if (!['unknown-constant', 'unknown-argument', 'never-true'].includes(error.code)) {
      problems.add(line, error.code, `${name}: ${error.message}`);
      return [];
    }
    losses.push(`${where}: ${name}: ${error.message}; left out`);
  }
  return last === undefined ? [] : always(last);
}

/** A line that is an action alone. */
function wholeAction(filter: string): string | undefined {
  return /^(1|allow|kill|kill-process|kill-thread|trap|trace|log|user-notify|return\s+\S+)$/.test(filter)
    ? filter
    : undefined;
}

function actionOf(
  text: string,
  at: Line | { file: string; line: number; column: number },
  problems: ProblemList,
): Action | undefined {
  const [word = '', value = ''] = text.split(/\s+/);
  switch (word) {
    case '1':
    case 'allow':
      return { kind: 'allow' };
    case 'kill':
    case 'kill-process':
      return { kind: 'kill-process' };
    case 'kill-thread':
      return { kind: 'kill-thread' };
    case 'trap':
    case 'log':
      return { kind: word };
    case 'trace':
      return { kind: 'trace', data: 0 };
    case 'user-notify':
      return { kind: 'broker' };
    case 'return': {
      const errno = /^\d+$/.test(value) ? Number(value) : errnoNumber(value);
      if (errno !== undefined && errnoName(errno) !== undefined) return { kind: 'errno', errno, quiet: false };
      problems.add(at, 'unknown-errno', `"${value}" is no errno`);
      return undefined;
    }
    default:
      problems.add(
        at,
        'wrong-value',
        `"${text}" is no action: allow, kill, kill-process, kill-thread, trap, trace, log, user-notify or return ERRNO`,
      );
      return undefined;
  }
}
