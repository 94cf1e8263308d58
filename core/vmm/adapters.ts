// SPDX-License-Identifier: Apache-2.0
import { basename } from 'node:path';
import { RatchetError } from '../errors.ts';
import { passtAdapter } from '../helpers/passt.ts';
import { swtpmAdapter } from '../helpers/swtpm.ts';
import { virtiofsdAdapter } from '../helpers/virtiofsd.ts';
import { suggestion } from '../policy/index.ts';
import { programAdapter } from '../program/program.ts';
import { qemuAdapter } from '../qemu/adapter.ts';
import { storageDaemonAdapter } from '../storage-daemon/storage-daemon.ts';
import type { Adapter, Vmm } from './vmm.ts';

const adapters: readonly Adapter<Vmm>[] = [
  qemuAdapter,
  storageDaemonAdapter,
  swtpmAdapter,
  passtAdapter,
  virtiofsdAdapter,
  programAdapter,
] as readonly Adapter[];

export interface AdapterLimits {
  /** The adapter that is expected. */
  readonly only?: string;
  /** Whoever launches starts it again when it has ended. */
  readonly restarts?: boolean;
}

/** The adapter that a profile names. @throws RatchetError PROFILE_INVALID; ARGUMENT_INVALID, GROUP_INVALID where it is not fit for what is asked. */
export function adapterFor(
  profile: { readonly name: string; readonly vmm: string },
  { only, restarts = false }: AdapterLimits = {},
): Adapter<Vmm> {
  const adapter = adapters.find(({ name }) => name === profile.vmm);
  if (only !== undefined && adapter !== undefined && adapter.name !== only)
    throw new RatchetError('ARGUMENT_INVALID', `profile ${profile.name} is for ${adapter.name}, not for ${only}`, {
      next: 'use launchVmm(), or another profile',
    });
  if (restarts && adapter?.servesOnce === true)
    throw new RatchetError(
      'GROUP_INVALID',
      `${adapter.name} has one client in its life and cannot be restarted for it`,
      {
        next: 'write `on-end: stop-group` or `go-on`',
      },
    );
  if (adapter !== undefined) return adapter;
  const names = adapters.map(({ name }) => name);
  throw new RatchetError(
    'PROFILE_INVALID',
    `profile ${profile.name}: there is no adapter for the VMM "${profile.vmm}"${suggestion(profile.vmm, names)}`,
    { next: `write vmm: ${names.join(', ')}; \`program\` is for any other` },
  );
}

/** The shipped profile for a program: `qemu-system-x86_64` and friends use `qemu`. @throws RatchetError PROFILE_NOT_FOUND. */
export function defaultProfile(path: string): string {
  const name = basename(path);
  if (isQemu(path)) return 'qemu';
  if (['qemu-storage-daemon', 'swtpm', 'passt', 'virtiofsd'].includes(name)) return name;
  throw new RatchetError('PROFILE_NOT_FOUND', `there is no shipped profile for ${name}`, {
    next: 'name one with --profile',
  });
}

/** By its name. */
export function isQemu(path: string): boolean {
  const name = basename(path);
  return name.startsWith('qemu-system-') || name === 'qemu-kvm';
}
