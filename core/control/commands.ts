// SPDX-License-Identifier: Apache-2.0
import { z } from 'zod';
import { RatchetError } from '../errors.ts';
import { tellingRefusals } from '../launch/refused-meanwhile.ts';
import type { Sandbox } from '../launch/sandbox.ts';
import { parseGrant } from '../policy/index.ts';
import { Qemu } from '../qemu/qemu.ts';
import type { Vmm } from '../vmm/vmm.ts';
import { type CommandTable, type Controlled, findCommand, row as rowOf } from './command-table.ts';
import { metricsText } from './metrics.ts';

const row = <T>(name: string, schema: z.ZodType<T>, handle: (sandbox: Sandbox<Vmm>, commandArguments: T) => unknown) =>
  rowOf(name, schema, handle);

const disks = z
  .strictObject({ nodes: z.array(z.string()).min(1), at: z.string() })
  .exactOptional()
  .describe('Nodes that are copied, and the ADDR at which the receiving side takes them.');
/** 1: by descriptor. More: multifd. */
const channels = z.coerce.number().int().min(1).max(255).default(1);
const timeoutMs = z.coerce.number().int().min(1).max(86_400_000).exactOptional();
const peerTimeoutMs = z.coerce.number().int().min(1000).max(3_600_000).exactOptional();

export const migrateSchema = z.strictObject({
  address: z.string(),
  channels,
  disks,
  timeoutMs,
  peerTimeoutMs,
  maxBytesPerSecond: z.coerce.number().int().min(1).exactOptional(),
  downtimeLimitMs: z.coerce.number().int().min(1).exactOptional(),
});
export const acceptSchema = z.strictObject({ address: z.string(), channels, disks, timeoutMs, peerTimeoutMs });

/** What a client of the control socket may ask. */
export const sandboxCommands: CommandTable<Sandbox<Vmm>> = new Map([
  row('status', z.strictObject({}), (sandbox) => sandbox.status()),
  row('stage', z.strictObject({ name: z.string() }), (sandbox, { name }) => sandbox.enter(name)),
  row('attest', z.strictObject({}), (sandbox) => sandbox.attest()),
  row('metrics', z.strictObject({}), async (sandbox) => ({ text: metricsText([{ status: await sandbox.status() }]) })),
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
  row('migrate', migrateSchema, (sandbox, { address, ...options }) => qemuOf(sandbox).migrate(address, options)),
  row('accept', acceptSchema, async (sandbox, { address, ...options }) => {
    await qemuOf(sandbox).acceptMigration(address, options);
    return { listening: address, channels: options.channels };
  }),
]);

/** @throws RatchetError ARGUMENT_INVALID when the VMM is none. */
function qemuOf(sandbox: Sandbox<Vmm>): Qemu {
  if (sandbox.vmm instanceof Qemu) return sandbox.vmm;
  throw new RatchetError('ARGUMENT_INVALID', 'this command is for QEMU, and here runs something else', {
    next: 'use status, stage, attest, events or quit',
  });
}

/** A single sandbox, as a control socket serves it. */
export function controlledSandbox(sandbox: Sandbox<Vmm>): Controlled {
  return {
    events: sandbox.events,
    perform: (name, given) => performOn(sandbox, name, given),
    target: (given) => ({ sandbox, given }),
  };
}

/** What the VMM was refused meanwhile is told with a failure. */
export async function performOn(sandbox: Sandbox<Vmm>, name: string, commandArguments: unknown): Promise<unknown> {
  const command = findCommand(sandboxCommands, name);
  return await tellingRefusals(sandbox, () => command(sandbox, commandArguments));
}
