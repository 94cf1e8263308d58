// SPDX-License-Identifier: Apache-2.0
import { basename } from 'node:path';
import { RatchetError } from '../errors.ts';
import { passtAdapter } from '../helpers/passt.ts';
import { swtpmAdapter } from '../helpers/swtpm.ts';
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
  programAdapter,
] as readonly Adapter[];

/** The adapter that a profile names. @throws RatchetError PROFILE_INVALID. */
export function adapterFor(profile: { readonly name: string; readonly vmm: string }): Adapter<Vmm> {
  const adapter = adapters.find(({ name }) => name === profile.vmm);
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
  if (['qemu-storage-daemon', 'swtpm', 'passt'].includes(name)) return name;
  throw new RatchetError('PROFILE_NOT_FOUND', `there is no shipped profile for ${name}`, {
    next: 'name one with --profile',
  });
}

/** By its name. */
export function isQemu(path: string): boolean {
  const name = basename(path);
  return name.startsWith('qemu-system-') || name === 'qemu-kvm';
}
