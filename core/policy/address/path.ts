// SPDX-License-Identifier: Apache-2.0
// Path rules: an exact path; `*` for any characters within one component (so `/images/*.qcow2`, and `*` alone for any component); `/**` at the end
// for everything below, at any depth. A rule never grants the directory it ends `/**` on. Symbolic links are not the grammar's business: the
// broker opens with RESOLVE_NO_SYMLINKS, so the path that was judged is the path that is opened.
import { addressError } from './address.ts';

export interface PathRule {
  readonly pattern: string;
  /** From the suffix `:ro`. */
  readonly readOnly: boolean;
}

export type PathAccess = 'ro' | 'rw' | 'wo';

const pathForm = 'an absolute path without "..", e.g. /images/disk.qcow2, /images/*.qcow2:ro or /images/**';

/** Reads a PATH[:ro] target. Throws ADDRESS_INVALID with the right form. */
export function parsePathRule(text: string): PathRule {
  const readOnly = text.endsWith(':ro');
  return { pattern: parsePathPattern(readOnly ? text.slice(0, -3) : text), readOnly };
}

/** Reads a pattern without a suffix, as unix: rules have it. */
export function parsePathPattern(text: string): string {
  const pattern = normalisePath(text);
  const components = pattern.split('/');
  const misplaced = components.some(
    (part, index) => part.includes('**') && !(part === '**' && index === components.length - 1),
  );
  if (misplaced) throw addressError(text, '"**" can only be the last component', pathForm);
  return pattern;
}

/** `//`, `.` and a trailing slash are taken out. Relative paths, `..`, NUL and the bare root are errors. */
export function normalisePath(text: string): string {
  if (!text.startsWith('/'))
    throw addressError(text, text === '' ? 'the path is empty' : 'the path is relative', pathForm);
  if (text.includes('\0')) throw addressError(text, 'the path contains a NUL byte', pathForm);
  const components = text.split('/').filter((part) => part !== '' && part !== '.');
  if (components.includes('..')) throw addressError(text, 'the path contains ".."', pathForm);
  if (components.length === 0) throw addressError(text, 'the path is the root directory', pathForm);
  return `/${components.join('/')}`;
}

/** `path` must be normalised. */
export function matchPath(rule: PathRule, path: string, access: PathAccess = 'ro'): boolean {
  if (rule.readOnly && access !== 'ro') return false;
  return matchPattern(rule.pattern, path);
}

/** Whether everything that `narrower` grants is granted by `wider` too. */
export function pathRuleContains(wider: PathRule, narrower: PathRule): boolean {
  return (!wider.readOnly || narrower.readOnly) && patternContains(wider.pattern, narrower.pattern);
}

/**
 * Containment is matching with the narrower rule read as a path: its `*` then stands for an unknown text, which only a `*` of the wider rule
 * can swallow whole, because no ordinary character of a pattern equals it.
 */
export function patternContains(wider: string, narrower: string): boolean {
  return matchPattern(wider, narrower);
}

export function matchPattern(pattern: string, path: string): boolean {
  const wanted = pattern.split('/');
  const given = path.split('/');
  const below = wanted.at(-1) === '**';
  if (below) wanted.pop();
  if (below ? given.length <= wanted.length : given.length !== wanted.length) return false;
  if (!below && given.at(-1) === '**') return false;
  return wanted.every((part, index) => matchComponent(part, given[index] ?? ''));
}

/** Linear: on a mismatch only the last star is widened. */
function matchComponent(pattern: string, text: string): boolean {
  let at = 0;
  let inPattern = 0;
  let star = -1;
  let resume = 0;
  while (at < text.length) {
    if (pattern[inPattern] === '*') {
      star = inPattern;
      resume = at;
      inPattern += 1;
    } else if (pattern[inPattern] === text[at]) {
      at += 1;
      inPattern += 1;
    } else if (star >= 0) {
      resume += 1;
      at = resume;
      inPattern = star + 1;
    } else return false;
  }
  while (pattern[inPattern] === '*') inPattern += 1;
  return inPattern === pattern.length;
}
