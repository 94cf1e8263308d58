// SPDX-License-Identifier: Apache-2.0
import { z } from 'zod';
import { RatchetError } from '../errors.ts';
import type { Sandbox } from '../launch/sandbox.ts';
import { parseGrant } from '../policy/index.ts';
import { Qemu } from '../qemu/qemu.ts';
import type { Vmm } from '../vmm/vmm.ts';
import { metricsText } from './metrics.ts';

export type ControlCommand = (sandbox: Sandbox<Vmm>, commandArguments: unknown) => Promise<unknown>;

/** What a client of the control socket may ask; each row checks its own arguments. */
export const controlCommands: ReadonlyMap<string, ControlCommand> = new Map([
  row('status', z.strictObject({}), (sandbox) => sandbox.status()),
  row('stage', z.strictObject({ name: z.string() }), (sandbox, { name }) => sandbox.enter(name)),
  row('attest', z.strictObject({}), (sandbox) => sandbox.attest()),
  row('metrics', z.strictObject({}), async (sandbox) => ({ text: metricsText(await sandbox.status()) })),
  row('cont', z.strictObject({}), (sandbox) => qemuOf(sandbox).cont()),
  row('quit', z.strictObject({}), (sandbox) => sandbox.vmm.quit()),
  row(
    'grant-add',
    z.strictObject({
      grant: z.string(),
      uses: z.coerce.number().int().min(1).optional(),
      /** Seconds. */
      for: z.coerce.number().positive().optional(),
      until: z.literal('migration').optional(),
      through: z.string().optional(),
    }),
    async (sandbox, { grant, uses, for: seconds, until, through }) => {
      const { id } = await sandbox.grant({
        ...parseGrant(grant, 'grant add'),
        ...(uses === undefined ? {} : { uses }),
        ...(seconds === undefined ? {} : { forMs: Math.ceil(seconds * 1000) }),
        ...(until === undefined ? {} : { until }),
        ...(through === undefined ? {} : { through }),
      });
      return { grant: id };
    },
  ),
  row('grant-revoke', z.strictObject({ number: z.coerce.number().int().min(1) }), async (sandbox, { number }) => {
    if (await sandbox.revoke(number)) return {};
    throw new RatchetError('ARGUMENT_INVALID', `there is no grant ${number}`, {
      next: 'it was revoked or has ended by itself; `grant list` shows those in force',
    });
  }),
  row('grant-list', z.strictObject({}), async (sandbox) => {
    const { grants, mayGrant } = await sandbox.status();
    return { grants, mayGrant };
  }),
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
      return qemuOf(sandbox).hotplug.addNic(tap === undefined ? { ...card, connect: connect ?? '' } : { ...card, tap });
    },
  ),
  row('nic-del', z.strictObject({ id: z.string() }), (sandbox, { id }) => qemuOf(sandbox).hotplug.removeNic(id)),
  row(
    'disk-add',
    z.strictObject({
      id: z.string(),
      path: z.string(),
      format: z.enum(['raw', 'qcow2']).default('raw'),
      readOnly: z.boolean().default(false),
    }),
    (sandbox, options) => qemuOf(sandbox).hotplug.addDisk(options),
  ),
  row('disk-del', z.strictObject({ id: z.string() }), (sandbox, { id }) => qemuOf(sandbox).hotplug.removeDisk(id)),
  row('cpu-add', z.strictObject({}), (sandbox) => qemuOf(sandbox).hotplug.addCpu()),
  row(
    'migrate',
    z.strictObject({ address: z.string(), channels: z.coerce.number().int().min(1).max(255).default(1) }),
    (sandbox, { address, channels }) => qemuOf(sandbox).migrate(address, { channels }),
  ),
  row(
    'accept',
    z.strictObject({ address: z.string(), channels: z.coerce.number().int().min(1).max(255).default(1) }),
    async (sandbox, { address, channels }) => {
      await qemuOf(sandbox).acceptMigration(address, { channels });
      return { listening: address, channels };
    },
  ),
]);

function row<T>(
  name: string,
  schema: z.ZodType<T>,
  handle: (sandbox: Sandbox<Vmm>, commandArguments: T) => Promise<unknown>,
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

/** @throws RatchetError ARGUMENT_INVALID when the VMM is none. */
function qemuOf(sandbox: Sandbox<Vmm>): Qemu {
  if (sandbox.vmm instanceof Qemu) return sandbox.vmm;
  throw new RatchetError('ARGUMENT_INVALID', 'this command is for QEMU, and here runs something else', {
    next: 'use status, stage, attest, events or quit',
  });
}
