// SPDX-License-Identifier: Apache-2.0
// Migration as an unmodified launcher does it: capabilities, parameters and URIs over QMP.
import { isAtLeast } from '../qemu-version.ts';
import type { Scene } from '../scene.ts';
import type { Vm } from '../vm.ts';

const migrationMs = 120_000;

/** No migration ends at this rate: the guest writes to its memory faster. */
export const slow = { parameters: { 'max-bandwidth': 1_000_000 } } as const;

export interface MigrationSettings {
  readonly capabilities?: readonly string[];
  readonly parameters?: Readonly<Record<string, unknown>>;
}

/** A guest to move and a machine that waits for it. */
export async function startPair(
  scene: Scene,
  args: {
    readonly source?: readonly string[];
    readonly destination?: readonly string[];
    readonly accelerator?: 'tcg' | 'kvm';
  } = {},
): Promise<{ readonly source: Vm; readonly destination: Vm }> {
  const accelerator = args.accelerator ?? 'tcg';
  const [source, destination] = await Promise.all([
    scene.start('counter', { args: args.source ?? [], accelerator }),
    scene.start('counter', { args: [...(args.destination ?? []), '-incoming', 'defer'], accelerator }),
  ]);
  return { source, destination };
}

/** @param usual also set; a file has no way back. */
export async function configure(
  vm: Vm,
  { capabilities = [], parameters = {} }: MigrationSettings,
  usual: readonly string[] = ['return-path'],
): Promise<void> {
  await vm.qmp('migrate-set-capabilities', {
    capabilities: ['events', ...usual, ...capabilities].map((capability) => ({ capability, state: true })),
  });
  await vm.qmp('migrate-set-parameters', { 'max-bandwidth': 1 << 30, ...parameters });
}

/** Arguments of migrate-incoming for a listening socket under this name: a URI says it until QEMU 8.1, a channel since 8.2. */
export function incomingByFd(name: string): Readonly<Record<string, unknown>> {
  const addr = { transport: 'socket', type: 'fd', str: name };
  return isAtLeast('8.2') ? { channels: [{ 'channel-type': 'main', addr }] } : { uri: `tcp:fd:${name}` };
}

/** Waits for one of these states. @throws when the migration ends in another one. */
export async function untilMigration(vm: Vm, act: () => Promise<unknown>, states: readonly string[]): Promise<string> {
  using events = vm.sandbox.vmm.qmp.subscribe(['MIGRATION']);
  await act();
  const final = [...states, 'completed', 'failed', 'cancelled'];
  const event = await events.next(({ data }) => final.includes(String(data['status'])), migrationMs);
  const status = String(event.data['status']);
  if (states.includes(status)) return status;
  const { 'error-desc': why } = await vm.qmp<{ readonly 'error-desc'?: string }>('query-migrate');
  throw new Error(`the migration came to ${status}: ${why ?? 'QEMU gave no reason'}`);
}

/** Both ends by URI, all the way. The guest then runs at the destination with the memory that it had. */
export async function moveBy(
  pair: { readonly source: Vm; readonly destination: Vm },
  uri: string,
  settings: MigrationSettings = {},
): Promise<void> {
  const { source, destination } = pair;
  await configure(source, settings);
  await configure(destination, settings);
  await destination.qmp('migrate-incoming', { uri });
  await untilMigration(source, () => source.qmp('migrate', { uri }), ['completed']);
  await hasArrived(pair);
}

/** The counter goes on where it was: it lies in guest memory only. */
export async function hasArrived({ source, destination }: { readonly source: Vm; readonly destination: Vm }) {
  const left = lastCount(source);
  await untilIncomingEnds(destination);
  await destination.sandbox.vmm.cont();
  const arrived = await destination.guestGoesOn();
  // Apart: a guest that goes on, and one that started again. Under TCG on a loaded host QEMU was seen to lose the last writes before the move.
  if (arrived < left / 2) throw new Error(`the guest left at ${left} and is at ${arrived}`);
  await source.until('query-status', ({ status }) => status === 'postmigrate');
}

/** The last whole line that the counter guest printed. */
export function lastCount(vm: Vm): number {
  const lines = vm.console.text.match(/[0-9a-f]{8}(?=\n)/g) ?? [];
  return Number.parseInt(lines.at(-1) ?? '0', 16);
}

async function untilIncomingEnds(vm: Vm): Promise<void> {
  using events = vm.sandbox.vmm.qmp.subscribe(['MIGRATION']);
  const { status } = await vm.qmp<{ readonly status?: string }>('query-migrate');
  if (status === 'completed') return;
  await events.next(({ data }) => data['status'] === 'completed', migrationMs);
}
