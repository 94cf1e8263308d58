// SPDX-License-Identifier: Apache-2.0
// Which constants an argument's values are known by: AF_* for the family of a socket, KVM_RUN and others for the request of an ioctl.

import type { Arch } from '../policy/types.ts';
import { constantNames, constantValue } from './constants.ts';
import { parametersOf } from './signatures.ts';

interface Naming {
  /** `flags`: a value is a sum of names. `one`: it has a name of its own. */
  readonly kind: 'one' | 'flags';
  readonly names: RegExp;
}

const one = (names: RegExp): Naming => ({ kind: 'one', names });
const flags = (names: RegExp): Naming => ({ kind: 'flags', names });

const messageFlags = flags(/^MSG_/);
const openFlags = flags(/^O_/);
const atFlags = flags(/^AT_(?!FDCWD|STATX_)/);
const signals = one(/^SIG[A-Z0-9]+$/);
const ioctlRequests =
  /^(KVM_(?!ARM_|CAP_|MEM_|MSR_|EXIT_|IRQCHIP_|REG_|GUESTDBG_|XEN_HVM_CONFIG_|DEV_|IOEVENTFD_|PIT_|API_)|TUN|VHOST_|VFIO_|TC[SGX]|TIO|FIO|BLK|FS_IOC_|UFFDIO_|CDROM|SG_|SIOC|USBDEVFS_|SECCOMP_IOCTL_|LOOP_|NBD_|RNDGET|PERF_EVENT_IOC)/;

/** By `CALL.ARGUMENT`, the argument under its first name. */
const namings: Readonly<Record<string, Naming>> = {
  'accept4.flags': flags(/^SOCK_(CLOEXEC|NONBLOCK)$/),
  'arch_prctl.option': one(/^ARCH_/),
  'bpf.cmd': one(/^BPF_[A-Z]+(_|$)/),
  'clock_gettime.which_clock': one(/^CLOCK_/),
  'clock_nanosleep.which_clock': one(/^CLOCK_/),
  'clone.flags': flags(/^(CLONE_(?!ARGS_)|SIG[A-Z]+$)/),
  'dup3.flags': openFlags,
  'epoll_create1.flags': flags(/^EPOLL_CLOEXEC$/),
  'epoll_ctl.op': one(/^EPOLL_CTL_/),
  'eventfd2.flags': flags(/^EFD_/),
  'execveat.flags': atFlags,
  'fadvise64.advice': one(/^POSIX_FADV_/),
  'faccessat2.flags': atFlags,
  'fallocate.mode': flags(/^FALLOC_FL_/),
  'fcntl.cmd': one(/^F_(?!SEAL_|OWNER_|RDLCK|WRLCK|UNLCK|EXLCK|SHLCK)/),
  'flock.cmd': flags(/^LOCK_(SH|EX|NB|UN)$/),
  'futex.op': flags(/^FUTEX_(?!OP_|32|TID_|OWNER_|WAITERS|BITSET_|WAITV|CMD_)/),
  'getrandom.flags': flags(/^GRND_/),
  'getsockopt.level': one(/^(SOL_|IPPROTO_)/),
  'ioctl.cmd': one(ioctlRequests),
  'keyctl.cmd': one(/^KEYCTL_(?!SUPPORTS_|CAPS)/),
  'kill.sig': signals,
  'lseek.whence': one(/^SEEK_/),
  'madvise.behavior': one(/^MADV_/),
  'membarrier.cmd': one(/^MEMBARRIER_CMD_/),
  'memfd_create.flags': flags(/^MFD_(?!HUGE_)/),
  'mlockall.flags': flags(/^MCL_/),
  'mmap.flags': flags(/^MAP_(?!HUGE_|TYPE|FILE)/),
  'mmap.prot': flags(/^PROT_/),
  'mprotect.prot': flags(/^PROT_/),
  'mremap.flags': flags(/^MREMAP_/),
  'newfstatat.flag': atFlags,
  'open.flags': openFlags,
  'openat.flags': openFlags,
  'pipe2.flags': openFlags,
  'pkey_mprotect.prot': flags(/^PROT_/),
  'prctl.option': one(
    /^PR_(SET_(?!MM_|VMA_)|GET_|CAPBSET_(READ|DROP)$|CAP_AMBIENT$|MCE_KILL(_GET)?$|TASK_|SCHED_CORE$)/,
  ),
  'prlimit64.resource': one(/^RLIMIT_/),
  'ptrace.request': one(/^PTRACE_(?!O_|EVENT_|SYSCALL_INFO)/),
  'recvfrom.flags': messageFlags,
  'recvmsg.flags': messageFlags,
  'rt_sigaction.sig': signals,
  'sched_setscheduler.policy': one(/^SCHED_(?!FLAG_)/),
  'seccomp.op': one(/^SECCOMP_(SET|GET)_/),
  'sendmsg.flags': messageFlags,
  'sendto.flags': messageFlags,
  'setsockopt.level': one(/^(SOL_|IPPROTO_)/),
  'shutdown.how': one(/^SHUT_/),
  'socket.domain': one(/^AF_/),
  'socket.type': flags(/^SOCK_(?!TXREHASH|BUF|MIN|SNDBUF|RCVBUF)/),
  'socketpair.domain': one(/^AF_/),
  'socketpair.type': flags(/^SOCK_(?!TXREHASH|BUF|MIN|SNDBUF|RCVBUF)/),
  'tgkill.sig': signals,
  'timerfd_create.clockid': one(/^CLOCK_/),
  'timerfd_create.flags': flags(/^TFD_(?!TIMER_)/),
  'tkill.sig': signals,
  'unlinkat.flag': atFlags,
  'unshare.unshare_flags': flags(/^CLONE_/),
  'userfaultfd.flags': flags(/^(UFFD_USER_MODE_ONLY|O_CLOEXEC|O_NONBLOCK)$/),
};

/** Of several names for one value, the one that people use. */
const preferred: ReadonlySet<string> = new Set([
  'AF_UNIX',
  'AF_NETLINK',
  'MAP_ANONYMOUS',
  'O_NONBLOCK',
  'SIGABRT',
  'SIGIO',
  'TIOCINQ',
  'MSG_NOSIGNAL',
  'SOL_SOCKET',
]);
const unwanted = /(_MAX|_LAST|_MASK|_MIN|_OLD|_INVALID)$/;

/** Whether an argument is one that values have names for: a family, a request, flags. */
export function hasNamedValues(arch: Arch, syscall: string, arg: number): boolean {
  return namingOf(arch, syscall, arg) !== undefined;
}

/** A value of an argument as constants, such as `SOCK_STREAM|SOCK_CLOEXEC`; undefined when they do not say all of it. */
export function valueName(arch: Arch, syscall: string, arg: number, value: bigint): string | undefined {
  const naming = namingOf(arch, syscall, arg);
  if (naming === undefined) return undefined;
  const table = namesFor(arch, naming);
  const whole = table.get(value);
  if (whole !== undefined || naming.kind === 'one' || value === 0n) return whole;
  const parts: string[] = [];
  let left = value;
  for (const [bits, name] of table) {
    if (bits === 0n || (left & bits) !== bits) continue;
    parts.push(name);
    left &= ~bits;
  }
  return left === 0n ? parts.reverse().join('|') : undefined;
}

function namingOf(arch: Arch, syscall: string, arg: number): Naming | undefined {
  const parameter = parametersOf(arch, syscall)[arg];
  const key = `${syscall}.${parameter?.names[0]}`;
  return Object.hasOwn(namings, key) ? namings[key] : undefined;
}

const tables = new Map<string, ReadonlyMap<bigint, string>>();

/** Names by value, the greatest first. Values are those of 64-bit registers, those of ioctl requests and the like without a sign. */
function namesFor(arch: Arch, { names }: Naming): ReadonlyMap<bigint, string> {
  const key = `${arch} ${names.source}`;
  const known = tables.get(key);
  if (known !== undefined) return known;
  const rows = constantNames(arch)
    .filter((name) => names.test(name) && !unwanted.test(name))
    .map((name) => [constantValue(arch, name) ?? 0n, name] as const)
    .filter(([value]) => value >= 0n)
    .sort(([a, left], [b, right]) =>
      a === b ? Number(preferred.has(left)) - Number(preferred.has(right)) : a > b ? -1 : 1,
    );
  const table = new Map<bigint, string>();
  for (const [value, name] of rows) {
    const before = table.get(value);
    if (before === undefined || preferred.has(name)) table.set(value, name);
  }
  tables.set(key, table);
  return table;
}
