// SPDX-License-Identifier: Apache-2.0
import { RatchetError } from '../errors.ts';
import { EventStream } from '../launch/events.ts';
import { isQemu } from '../vmm/adapters.ts';
import { Group } from './group.ts';
import type { MemberOptions } from './member.ts';
import { type GroupSource, readGroup } from './read-group.ts';
import type { GroupSpec } from './spec.ts';

export interface LaunchGroupOptions {
  readonly group: GroupSource;
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
  /** The guest comes from another group: the member that is a QEMU waits for it (`-incoming defer`), until `Group.accept()` lets it in. */
  readonly incoming?: boolean;
  /** Files that are removed when the group is gone, even if this process was killed. */
  readonly ownedPaths?: readonly string[];
}

const defaultDeadlineMs = 30_000;

/**
 * Starts all members of a group, servers first, links them, tightens and verifies all of them, and only then lets the guest run.
 * @throws RatchetError GROUP_INVALID for the file; of a member's launch, with its name. Nothing is left running then.
 */
export async function launchGroup(options: LaunchGroupOptions): Promise<Group> {
  const spec = readGroup(options.group, { variables: options.variables ?? {} });
  const group = new Group({
    spec,
    options: options.members ?? {},
    events: options.events ?? new EventStream(),
    deadlineMs: options.deadlineMs ?? defaultDeadlineMs,
    moreWords: options.incoming === true ? { [receiverOf(spec)]: ['-incoming', 'defer'] } : {},
    ownedPaths: options.ownedPaths ?? [],
  });
  try {
    await group.start(options.signal);
    return group;
  } catch (error) {
    // What went wrong first is told.
    await group.stop().catch(() => undefined);
    throw error;
  }
}

function receiverOf({ name, members }: GroupSpec): string {
  const [receiver, ...others] = members.filter(({ command: [program] }) => isQemu(program));
  if (receiver !== undefined && others.length === 0) return receiver.name;
  throw new RatchetError(
    'GROUP_INVALID',
    `the group ${name} has ${others.length + (receiver ? 1 : 0)} members that could receive a guest`,
    {
      next: 'a guest comes into the one member whose program is qemu-system-*',
    },
  );
}

/**
 * Reads an addition to a running group, for `Group.add()`: a group file whose members serve members of that group, by pairs.
 * @throws RatchetError GROUP_INVALID.
 */
export function readAddition(
  group: Group,
  addition: GroupSource,
  variables: Readonly<Record<string, string>> = {},
): GroupSpec {
  return readGroup(addition, { variables, running: group.members });
}
