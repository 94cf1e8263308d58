// SPDX-License-Identifier: Apache-2.0
// What the descriptors of another process are: by their names in /proc, and sockets by asking the kernel through a copy.
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { type NativeError, native } from '../../native/index.ts';
import { OwnedFd } from '../owned-fd.ts';
import type { FdKind } from '../policy/preconditions.ts';

export interface HeldFd {
  /** Undefined for a mapping whose descriptor was closed. */
  readonly fd: number | undefined;
  /** As /proc shows it. */
  readonly what: string;
  readonly kind: FdKind | undefined;
}

/** Every descriptor of the process, and rings that are only mapped any more. Threads that have others are looked at too. */
export function readFds(pid: number, pidfd: number): readonly HeldFd[] {
  return [...leaderFds(pid, pidfd), ...otherTablesFds(pid), ...mappedRings(pid)];
}

function leaderFds(pid: number, pidfd: number): readonly HeldFd[] {
  return listed(`/proc/${pid}/fd`).map(({ fd, what }) => ({
    fd,
    what,
    kind: kindOf(what) ?? socketKind(pidfd, fd, what),
  }));
}

/** A thread may have left the shared table (unshare with CLONE_FILES). What its sockets are cannot be asked by the process, so they count by name. */
function otherTablesFds(pid: number): readonly HeldFd[] {
  return entries(`/proc/${pid}/task`)
    .filter((tid) => tid !== String(pid) && !native.shareFiles({ one: pid, other: Number(tid) }))
    .flatMap((tid) => listed(`/proc/${pid}/task/${tid}/fd`))
    .map(({ fd, what }) => ({ fd, what, kind: kindOf(what) }))
    .filter(({ kind }) => kind !== undefined);
}

/** A ring goes on while it is mapped, and its kernel thread (SQPOLL) works on without any call. */
function mappedRings(pid: number): readonly HeldFd[] {
  const mapped = readText(`/proc/${pid}/maps`).includes('anon_inode:[io_uring]');
  const polled = entries(`/proc/${pid}/task`).filter((tid) =>
    readText(`/proc/${pid}/task/${tid}/comm`).startsWith('iou-sqp-'),
  );
  return [
    ...(mapped ? [{ fd: undefined, what: 'a mapped io_uring ring', kind: 'io_uring' as const }] : []),
    ...polled.map((tid) => ({ fd: undefined, what: `an io_uring kernel thread ${tid}`, kind: 'io_uring' as const })),
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
const type = { datagram: 2, raw: 3 } as const;
const option = { level: 1, domain: 39, type: 3 } as const;

function socketKind(pidfd: number, fd: number, what: string): FdKind | undefined {
  if (!what.startsWith('socket:')) return undefined;
  let socket: OwnedFd;
  try {
    socket = new OwnedFd(native.getFdOfProcess({ pidfd, fd }));
  } catch (error) {
    // Closed since it was listed.
    if ((error as NativeError).code === 'EBADF') return undefined;
    throw error;
  }
  using held = socket;
  const ask = (name: number): number => native.getSocketOption({ fd: held.fd, level: option.level, name });
  const [domain, kind] = [ask(option.domain), ask(option.type)];
  if (domain === family.packet) return 'packet-socket';
  if (domain === family.netlink) return 'netlink';
  if (domain === family.unix) return kind === type.datagram ? 'unix-datagram' : undefined;
  if (domain !== family.inet && domain !== family.inet6) return undefined;
  return kind === type.raw ? 'raw-socket' : kind === type.datagram ? 'inet-datagram' : undefined;
}

function listed(folder: string): readonly { readonly fd: number; readonly what: string }[] {
  return entries(folder).flatMap((name) => {
    try {
      return [{ fd: Number(name), what: readlinkSync(`${folder}/${name}`) }];
    } catch (error) {
      return ignoreGone(error, []);
    }
  });
}

function entries(folder: string): readonly string[] {
  try {
    return readdirSync(folder);
  } catch (error) {
    return ignoreGone(error, []);
  }
}

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    return ignoreGone(error, '');
  }
}

/** A descriptor, thread or process that ended while we looked; anything else must not pass for "there is none". */
function ignoreGone<T>(error: unknown, instead: T): T {
  const { code } = error as NodeJS.ErrnoException;
  if (code === 'ENOENT' || code === 'ESRCH') return instead;
  throw error;
}
