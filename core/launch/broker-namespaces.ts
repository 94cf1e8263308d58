// SPDX-License-Identifier: Apache-2.0
// Namespaces of the broker's own, where the launch asks for them. The stager makes them, since the threads of Node could not be put into one together.

import { native } from '../../native/index.ts';
import { packagePath } from '../../native/package-path.ts';
import { errnoName } from '../errno-name.ts';
import { RatchetError } from '../errors.ts';
import type { OwnedFd } from '../owned-fd.ts';
import { parseAddressRule } from '../policy/address/index.ts';
import type { BrokerRule, ResolvedProfile } from '../policy/types.ts';

export const brokerNamespaces = ['ipc', 'uts', 'cgroup', 'mount', 'net'] as const;
export type BrokerNamespace = (typeof brokerNamespaces)[number];

/** As /proc/PID/ns calls them. */
export const namesInProc: Readonly<Record<BrokerNamespace, string>> = {
  ipc: 'ipc',
  uts: 'uts',
  cgroup: 'cgroup',
  mount: 'mnt',
  net: 'net',
};

/** CLONE_NEW*, include/uapi/linux/sched.h. */
const cloneBits: Readonly<Record<BrokerNamespace, number>> = {
  mount: 0x0002_0000,
  cgroup: 0x0200_0000,
  uts: 0x0400_0000,
  ipc: 0x0800_0000,
  net: 0x4000_0000,
};

/** Where the broker's standard descriptors end. */
export const statusFd = 7;

/** What comes before the broker's own command; nothing when none is asked for. It needs a status socket as fd 7. */
export function inNamespaces(kinds: readonly BrokerNamespace[]): readonly string[] {
  if (kinds.length === 0) return [];
  const bits = kinds.reduce((sum, kind) => sum | cloneBits[kind], 0);
  return [
    packagePath('build/Release/ratchet-stager'),
    ...['--status-fd', String(statusFd), '--keep', '0,1,2,3,4,5,6', '--parent-pid', String(process.pid), '--no-filter'],
    ...['--namespaces', String(bits), '--exec', process.execPath, '--', process.execPath],
  ];
}

/** @throws RatchetError ARGUMENT_INVALID, KERNEL_UNSUPPORTED. */
export function checkNamespaces(kinds: readonly BrokerNamespace[], profile: ResolvedProfile): void {
  if (kinds.length === 0) return;
  if (process.geteuid?.() !== 0)
    throw new RatchetError(
      'KERNEL_UNSUPPORTED',
      'namespaces of the broker take root: in a user namespace it could not read from the VMM',
      {
        errno: 'EPERM',
        next: 'start the launcher as root, or ask for none',
      },
    );
  const networked = profile.stages.flatMap(({ broker }) => broker).find(needsNetwork);
  if (!kinds.includes('net') || networked === undefined) return;
  const { request, target, source } = networked;
  throw new RatchetError(
    'ARGUMENT_INVALID',
    `${source.file}:${source.line}: ${request} ${target} has no meaning in an empty network`,
    {
      next: 'leave net out of the namespaces of the broker',
    },
  );
}

/** What is under paths too: which sockets are in use is read from the network namespace. */
function needsNetwork({ request, target, refuseErrno }: BrokerRule): boolean {
  if (refuseErrno !== undefined) return false;
  if (request === 'tap') return true;
  // The route socket of getaddrinfo is the VMM's own.
  return (request === 'connect' || request === 'bind') && parseAddressRule(target).kind !== 'netlink';
}

/** The step at which the stager failed, from our end of the status socket; undefined when it came through. */
export function failedStep(status: OwnedFd): string | undefined {
  for (;;) {
    const received = native.receiveMessage({ fd: status.fd, maxBytes: 4096, maxFds: 0 });
    if (received.kind !== 'message') return undefined;
    const { step, errno } = JSON.parse(received.data.toString()) as { readonly step: string; readonly errno?: number };
    if (errno !== undefined) return `${step} (${errnoName(errno)})`;
  }
}
