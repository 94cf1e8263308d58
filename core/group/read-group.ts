// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { RatchetError } from '../errors.ts';
import { parseGroup } from './parse-group.ts';
import type { GroupSpec } from './spec.ts';

/** A group file, or its content as an object. */
export type GroupSource = string | Readonly<Record<string, unknown>>;

/** @throws RatchetError GROUP_INVALID. */
export function readGroup(
  group: GroupSource,
  options: { readonly variables?: Readonly<Record<string, string>>; readonly running?: readonly string[] } = {},
): GroupSpec {
  const { text, file } = textOf(group);
  return parseGroup(text, { file, ...options });
}

function textOf(group: GroupSource): { readonly text: string; readonly file: string } {
  if (typeof group !== 'string') return { text: JSON.stringify(group, undefined, 2), file: '<object>' };
  try {
    return { text: readFileSync(group, 'utf8'), file: group };
  } catch (cause) {
    throw new RatchetError('GROUP_INVALID', `the group file ${group} cannot be read`, {
      errno: (cause as NodeJS.ErrnoException).code ?? 'EIO',
      next: 'give the path of a group file; docs/groups.md has the form',
      cause,
    });
  }
}
