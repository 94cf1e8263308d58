// SPDX-License-Identifier: Apache-2.0
import { z } from 'zod';
import { RatchetError } from '../errors.ts';
import type { Sandbox } from '../launch/sandbox.ts';

export type ControlCommand = (sandbox: Sandbox, commandArguments: unknown) => Promise<unknown>;

/** What a client of the control socket may ask; each row checks its own arguments. */
export const controlCommands: ReadonlyMap<string, ControlCommand> = new Map([
  row('status', z.strictObject({}), (sandbox) => sandbox.status()),
  row('stage', z.strictObject({ name: z.string() }), (sandbox, { name }) => sandbox.enter(name)),
  row('attest', z.strictObject({}), (sandbox) => sandbox.attest()),
  row('cont', z.strictObject({}), (sandbox) => sandbox.vmm.cont()),
  row('quit', z.strictObject({}), (sandbox) => sandbox.vmm.quit()),
  row(
    'nic-add',
    z
      .strictObject({
        id: z.string(),
        tap: z.string().optional(),
        connect: z.string().optional(),
        mac: z.string().optional(),
      })
      .refine(
        ({ tap, connect }) => (tap === undefined) !== (connect === undefined),
        'give either --tap NAME or --connect ADDR',
      ),
    (sandbox, { id, tap, connect, mac }) => {
      const card = { id, ...(mac === undefined ? {} : { mac }) };
      return sandbox.vmm.hotplug.addNic(tap === undefined ? { ...card, connect: connect ?? '' } : { ...card, tap });
    },
  ),
  row('nic-del', z.strictObject({ id: z.string() }), (sandbox, { id }) => sandbox.vmm.hotplug.removeNic(id)),
  row(
    'disk-add',
    z.strictObject({
      id: z.string(),
      path: z.string(),
      format: z.enum(['raw', 'qcow2']).default('raw'),
      readOnly: z.boolean().default(false),
    }),
    (sandbox, options) => sandbox.vmm.hotplug.addDisk(options),
  ),
  row('disk-del', z.strictObject({ id: z.string() }), (sandbox, { id }) => sandbox.vmm.hotplug.removeDisk(id)),
  row('cpu-add', z.strictObject({}), (sandbox) => sandbox.vmm.hotplug.addCpu()),
  row(
    'migrate',
    z.strictObject({ address: z.string(), channels: z.coerce.number().int().min(1).max(255).default(1) }),
    (sandbox, { address, channels }) => sandbox.vmm.migrate(address, { channels }),
  ),
  row(
    'accept',
    z.strictObject({ address: z.string(), channels: z.coerce.number().int().min(1).max(255).default(1) }),
    async (sandbox, { address, channels }) => {
      await sandbox.vmm.acceptMigration(address, { channels });
      return { listening: address, channels };
    },
  ),
]);

function row<T>(
  name: string,
  schema: z.ZodType<T>,
  handle: (sandbox: Sandbox, commandArguments: T) => Promise<unknown>,
): [string, ControlCommand] {
  return [
    name,
    async (sandbox, commandArguments) => {
      const checked = schema.safeParse(commandArguments);
      if (checked.success) return await handle(sandbox, checked.data);
      const issue = checked.error.issues[0];
      throw new RatchetError('ARGUMENT_INVALID', `${name}: ${[...(issue?.path ?? []), issue?.message].join(': ')}`);
    },
  ];
}
