// SPDX-License-Identifier: Apache-2.0
// What the descriptors of another process are: by their names in /proc, and sockets by what the kernel says of a copy.
import type { HeldDescriptor, Holdings } from '../../native/index.ts';
import type { FdKind } from '../policy/preconditions.ts';

export interface HeldFd {
  /** Undefined for a mapping whose descriptor was closed. */
  readonly fd: number | undefined;
  /** As /proc shows it. */
  readonly what: string;
  readonly kind: FdKind | undefined;
}

/** Every descriptor of the process `pid`, and rings that are only mapped any more. Threads that have others are looked at too. */
export function heldFds(pid: number, { descriptors, threads, mapsRing }: Holdings): readonly HeldFd[] {
  return [
    ...descriptors
      .map((held) => ({ fd: held.fd, what: held.what, kind: kindOf(held.what) ?? socketKind(held), tid: held.tid }))
      // What the sockets of a thread's own table are cannot be asked by the process, so they count by name.
      .filter(({ tid, kind }) => tid === pid || kind !== undefined),
    ...(mapsRing ? [{ fd: undefined, what: 'a mapped io_uring ring', kind: 'io_uring' as const }] : []),
    // A ring's kernel thread (SQPOLL) works on without any call.
    ...threads
      .filter(({ name }) => name.startsWith('iou-sqp-'))
      .map(({ tid }) => ({ fd: undefined, what: `an io_uring kernel thread ${tid}`, kind: 'io_uring' as const })),
  ];
}

/** Anonymous inodes are in brackets or not, by kernel version. */
const byName: readonly (readonly [RegExp, FdKind])[] = [
  [/^anon_inode:\[?io_uring\]?$/, 'io_uring'],
  [/^anon_inode:\[?bpf/, 'bpf'],
  [/^anon_inode:\[?userfaultfd\]?$/, 'userfaultfd'],
  [/^(anon_inode:\[pidfd\]|pidfd:)/, 'pidfd'],
  [/^anon_inode:\[?perf_event\]?$/, 'perf'],
  [/^anon_inode:\[?fanotify\]?$/, 'fanotify'],
  [/^anon_inode:\[?seccomp notify\]?$/, 'seccomp-listener'],
  [/^anon_inode:\[?(fscontext|mount)\]?$/, 'mount-or-namespace'],
  [/^(mnt|net|user|pid|uts|ipc|cgroup|time):\[\d+\]$/, 'mount-or-namespace'],
  [/^\/dev\/userfaultfd$/, 'userfaultfd'],
  [/^\/dev\/kvm$/, 'kvm'],
];

function kindOf(what: string): FdKind | undefined {
  return byName.find(([pattern]) => pattern.test(what))?.[1];
}

const family = { unix: 1, inet: 2, inet6: 10, netlink: 16, packet: 17 } as const;
const socketType = { datagram: 2, raw: 3 } as const;

function socketKind({ domain, type }: HeldDescriptor): FdKind | undefined {
  if (domain === family.packet) return 'packet-socket';
  if (domain === family.netlink) return 'netlink';
  if (domain === family.unix) return type === socketType.datagram ? 'unix-datagram' : undefined;
  if (domain !== family.inet && domain !== family.inet6) return undefined;
  return type === socketType.raw ? 'raw-socket' : type === socketType.datagram ? 'inet-datagram' : undefined;
}
