// SPDX-License-Identifier: Apache-2.0
import { errnoNames, errnoNumber } from '../tables/index.ts';
import { ruleActions } from './actions.ts';
import type { Path, ProfileDocument } from './document.ts';
import type { ProblemList } from './problem.ts';
import type { RawRule } from './schema.ts';
import { suggestion } from './suggest.ts';

import type { Action, Source } from './types.ts';

/** Reads a default: `errno NAME [quiet]`, `trace N`, or an action's own name. */
export function parseDefault(text: string, source: Source, problems: ProblemList): Action | undefined {
  const [kind, value, ...rest] = text.trim().split(/\s+/);
  if (kind === 'errno' && value !== undefined) {
    const errno = parseErrno(value, source, problems);
    const quiet = rest[0] === 'quiet';
    if (errno !== undefined && rest.length === Number(quiet)) return { kind, errno, quiet };
    if (errno === undefined) return undefined;
  }
  if (kind === 'trace' && /^\d+$/.test(value ?? '') && Number(value) <= 0xffff && rest.length === 0)
    return { kind, data: Number(value) };
  if (value === undefined) {
    switch (kind) {
      case 'allow':
      case 'log':
      case 'trap':
      case 'kill-thread':
      case 'kill-process':
        return { kind };
    }
  }
  const known = [
    'errno NAME',
    'errno NAME quiet',
    'kill-process',
    'kill-thread',
    'trap',
    'log',
    'trace NUMBER',
    'allow',
  ];
  problems.add(
    source,
    'wrong-value',
    `"${text}" is no default action${suggestion(text, known)}: use one of ${known.join(', ')}`,
  );
  return undefined;
}

/** A rule's action and the key that names its calls, or undefined with the problem added. */
export function parseRuleAction(
  raw: RawRule,
  document: ProfileDocument,
  path: Path,
  problems: ProblemList,
): { readonly action: Action; readonly key: (typeof ruleActions)[number] } | undefined {
  const keys = ruleActions.filter((key) => raw[key] !== undefined);
  const [key] = keys;
  if (key === undefined || keys.length > 1) {
    const found = keys.length === 0 ? 'this one has none' : `this one has ${keys.join(' and ')}`;
    problems.add(
      document.at(path),
      keys.length === 0 ? 'missing-key' : 'wrong-value',
      `a rule needs exactly one of use, ${ruleActions.join(', ')}; ${found}`,
    );
    return undefined;
  }
  misplaced('errno', key === 'refuse', 'refuse');
  misplaced('quiet', key === 'refuse', 'refuse');
  misplaced('data', key === 'trace', 'trace');
  if (key === 'refuse') {
    if (raw.errno === undefined) {
      problems.add(document.at(path), 'missing-key', 'a refusal needs "errno", such as errno: EPERM');
      return undefined;
    }
    const errno = parseErrno(raw.errno, document.at([...path, 'errno']), problems);
    return errno === undefined ? undefined : { key, action: { kind: 'errno', errno, quiet: raw.quiet ?? false } };
  }
  if (key === 'trace') return { key, action: { kind: 'trace', data: raw.data ?? 0 } };
  return { key, action: { kind: key } };

  function misplaced(name: 'errno' | 'quiet' | 'data', fits: boolean, owner: string): void {
    if (raw[name] !== undefined && !fits)
      problems.add(document.atKey([...path, name]), 'wrong-value', `"${name}" belongs to ${owner} only`);
  }
}

/** A number from an errno's name, or undefined with the problem added. */
export function parseErrno(name: string, source: Source, problems: ProblemList): number | undefined {
  // The call is not performed, and its caller hears that it was.
  if (name === 'none') return 0;
  const errno = errnoNumber(name);
  if (errno === undefined)
    problems.add(source, 'unknown-errno', `unknown errno "${name}"${suggestion(name, errnoNames())}`);
  return errno;
}
