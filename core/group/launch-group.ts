// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { RatchetError } from '../errors.ts';
import { EventStream } from '../launch/events.ts';
import { Group } from './group.ts';
import type { MemberOptions } from './member.ts';
import { parseGroup } from './parse-group.ts';
import type { GroupSpec } from './spec.ts';

export interface LaunchGroupOptions {
  /** A group file, or its content as an object. */
  readonly group: string | Readonly<Record<string, unknown>>;
  /** Replace the file's variables. */
  readonly variables?: Readonly<Record<string, string>>;
  /** By member. */
  readonly members?: Readonly<Record<string, MemberOptions>>;
  /** Where the events of all members go, with the member's name. */
  readonly events?: EventStream;
  /** Bound on each step of each launch. Milliseconds. */
  readonly deadlineMs?: number;
  /** Gives up the launch: everything is stopped, and `launchGroup()` rejects with the signal's reason. Without effect afterwards. */
  readonly signal?: AbortSignal;
}

const defaultDeadlineMs = 30_000;

/**
 * Starts all members of a group, servers first, links them, tightens and verifies all of them, and only then lets the guest run.
 * @throws RatchetError GROUP_INVALID for the file; of a member's launch, with its name. Nothing is left running then.
 */
export async function launchGroup(options: LaunchGroupOptions): Promise<Group> {
  const { text, file } = textOf(options.group);
  const spec = parseGroup(text, { file, variables: options.variables ?? {} });
  const group = new Group({
    spec,
    options: options.members ?? {},
    events: options.events ?? new EventStream(),
    deadlineMs: options.deadlineMs ?? defaultDeadlineMs,
  });
  try {
    await group.start(options.signal);
    return group;
  } catch (error) {
    await group.stop();
    throw error;
  }
}

/**
 * Reads an addition to a running group, for `Group.add()`: a group file whose members serve members of that group, by pairs.
 * @throws RatchetError GROUP_INVALID.
 */
export function readAddition(
  group: Group,
  addition: LaunchGroupOptions['group'],
  variables: Readonly<Record<string, string>> = {},
): GroupSpec {
  const { text, file } = textOf(addition);
  return parseGroup(text, { file, variables, running: group.members });
}

function textOf(group: LaunchGroupOptions['group']): { readonly text: string; readonly file: string } {
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
