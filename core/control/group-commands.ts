// SPDX-License-Identifier: Apache-2.0
import { z } from 'zod';
import { RatchetError } from '../errors.ts';
import type { Group } from '../group/group.ts';
import { tellingRefusals } from '../launch/refused-meanwhile.ts';
import type { Sandbox } from '../launch/sandbox.ts';
import type { Vmm } from '../vmm/vmm.ts';
import { type CommandTable, type Controlled, findCommand, row as rowOf } from './command-table.ts';
import { acceptSchema, migrateSchema, performOn, sandboxCommands } from './commands.ts';
import { metricsText } from './metrics.ts';

const row = <T>(name: string, schema: z.ZodType<T>, handle: (group: Group, commandArguments: T) => unknown) =>
  rowOf(name, schema, handle);
const member = z.string().exactOptional();
const oneOrAll = z.strictObject({ member });

/** What is asked of a group as one. With `member` the answer is that of a single sandbox. */
const ownCommands: CommandTable<Group> = new Map([
  row('status', oneOrAll, async (group, { member }) => {
    const status = await group.status();
    if (member === undefined) return status;
    group.member(member);
    return status.members[member];
  }),
  row('stage', z.strictObject({ name: z.string(), member }), async (group, { name, member }) => {
    const report = await group.enter(name, member);
    return member === undefined ? report : report.members[member];
  }),
  row('attest', oneOrAll, async (group, { member }) =>
    member === undefined ? await group.attest() : await group.member(member).attest(),
  ),
  row('metrics', z.strictObject({}), async (group) => {
    const { members } = await group.status();
    const labels = (name: string) => ({ group: group.name, member: name });
    return { text: metricsText(Object.entries(members).map(([name, status]) => ({ status, labels: labels(name) }))) };
  }),
  // Its end is the end of this socket too, so it is not waited for.
  row('quit', z.strictObject({}), (group) => void group.stop()),
  row('migrate', migrateSchema.safeExtend({ member }), async (group, { address, ...options }) => {
    const sandbox = group.vmm(options.member);
    return await tellingRefusals(sandbox, () => group.migrate(address, options));
  }),
  row('accept', acceptSchema.safeExtend({ member }), async (group, { address, ...options }) => {
    const sandbox = group.vmm(options.member);
    await tellingRefusals(sandbox, () => group.accept(address, options));
    return { listening: address, channels: options.channels };
  }),
]);

/** All other commands are the VMM's, or the member's that is named. */
const allCommands: CommandTable<Group> = new Map([
  ...[...sandboxCommands.keys()].map(
    (name) => [name, (group: Group, given: unknown) => passOn(group, name, given)] as const,
  ),
  ...ownCommands,
]);

/** A group, as a control socket serves it. */
export function controlledGroup(group: Group): Controlled {
  return {
    events: group.events,
    perform: (name, given) => findCommand(allCommands, name)(group, given),
    target: (given) => targetOf(group, given),
  };
}

async function passOn(group: Group, name: string, asked: unknown): Promise<unknown> {
  const { sandbox, given } = targetOf(group, asked);
  return await performOn(sandbox, name, given);
}

function targetOf(group: Group, asked: unknown): { readonly sandbox: Sandbox<Vmm>; readonly given: unknown } {
  const checked = z.looseObject({ member }).safeParse(asked);
  if (!checked.success) throw new RatchetError('ARGUMENT_INVALID', 'member is the name of one');
  const { member: named, ...given } = checked.data;
  return { sandbox: named === undefined ? (group.vmm() as Sandbox<Vmm>) : group.member(named), given };
}
