// SPDX-License-Identifier: Apache-2.0
// Which constants the arguments of a call are written with, for people. A call or argument that is not here is shown as a number.

/**
 * `name`: one of the constants with this prefix. `flags`: several of them. `request`: an ioctl's. `type`: a socket's, with its flags. `level`, `option`:
 * a socket option's. `not`: constants with the prefix that are for something else.
 */
export type Words =
  | { readonly kind: 'name' | 'flags'; readonly prefix: string; readonly not?: RegExp | undefined }
  | { readonly kind: 'request' | 'type' | 'level' | 'option' };

export interface CallWords {
  readonly words: Readonly<Record<string, Words>>;
  /** The arguments that tell what the call is about: a rule that permits it should name them. */
  readonly selects?: readonly string[];
}

const name = (prefix: string, not?: RegExp): Words => ({ kind: 'name', prefix, not });
const flags = (prefix: string, not?: RegExp): Words => ({ kind: 'flags', prefix, not });

const mapped = { prot: flags('PROT_') };
const socket: CallWords = {
  words: { domain: name('AF_'), type: { kind: 'type' }, protocol: name('IPPROTO_') },
  selects: ['domain', 'type', 'protocol'],
};
const socketOption: CallWords = {
  words: { level: { kind: 'level' }, optname: { kind: 'option' } },
  selects: ['level', 'optname'],
};
const opened = { flags: flags('O_') };
const atFlags = { flags: flags('AT_'), flag: flags('AT_') };
const signal: CallWords = { words: { sig: name('SIG') }, selects: ['sig'] };
const clock = { words: { which_clock: name('CLOCK_'), clockid: name('CLOCK_') } };
const limit = { words: { resource: name('RLIMIT_') }, selects: ['resource'] };

/** By the kernel's own name of each argument, the first in the signature tables. */
export const callWords: Readonly<Record<string, CallWords>> = {
  accept4: { words: { flags: flags('SOCK_') } },
  arch_prctl: { words: { option: name('ARCH_') }, selects: ['option'] },
  clock_gettime: clock,
  clock_nanosleep: clock,
  clone: { words: { flags: flags('CLONE_', /^CLONE_ARGS_/) } },
  dup3: { words: opened },
  epoll_create1: { words: { flags: flags('EPOLL_') } },
  execveat: { words: atFlags },
  faccessat2: { words: atFlags },
  fallocate: { words: { mode: flags('FALLOC_FL_') } },
  fcntl: {
    words: { cmd: name('F_', /^F_(SEAL_|OWNER_|RDLCK|WRLCK|UNLCK|EXLCK|SHLCK|OK|LOCK|TEST|TLOCK|ULOCK)/) },
    selects: ['cmd'],
  },
  flock: { words: { cmd: flags('LOCK_') } },
  getrlimit: limit,
  getsockopt: socketOption,
  ioctl: { words: { cmd: { kind: 'request' } }, selects: ['cmd'] },
  keyctl: { words: { cmd: name('KEYCTL_') }, selects: ['cmd'] },
  kill: signal,
  linkat: { words: atFlags },
  madvise: { words: { behavior: name('MADV_') }, selects: ['behavior'] },
  membarrier: { words: { cmd: name('MEMBARRIER_CMD_') }, selects: ['cmd'] },
  memfd_create: { words: { flags: flags('MFD_', /^MFD_HUGE_/) } },
  mlockall: { words: { flags: flags('MCL_') } },
  mmap: { words: { ...mapped, flags: flags('MAP_', /^MAP_(HUGE_|TYPE|ANON$|FILE)/) }, selects: ['prot'] },
  mount: { words: { flags: flags('MS_', /^MS_(SYNC|ASYNC|INVALIDATE)$/) } },
  mprotect: { words: mapped, selects: ['prot'] },
  mremap: { words: { flags: flags('MREMAP_') } },
  newfstatat: { words: atFlags },
  open: { words: opened },
  openat: { words: opened },
  pipe2: { words: opened },
  pkey_mprotect: { words: mapped, selects: ['prot'] },
  prctl: {
    words: {
      option: name(
        'PR_',
        /^PR_(SET_MM_|SET_VMA_|SET_PTRACER_|GET_SHADOW|(?!SET_|GET_|CAPBSET_|CAP_AMBIENT$|MCE_KILL$|TASK_PERF))/,
      ),
    },
    selects: ['option'],
  },
  prlimit64: limit,
  ptrace: { words: { request: name('PTRACE_', /^PTRACE_(O_|EVENT_|SYSCALL_INFO_)/) } },
  renameat2: { words: { flags: flags('RENAME_') } },
  sched_setscheduler: { words: { policy: name('SCHED_') } },
  seccomp: { words: { op: name('SECCOMP_', /^SECCOMP_(?!SET_MODE_|GET_)/) }, selects: ['op'] },
  sendmsg: { words: { flags: flags('MSG_') } },
  sendto: { words: { flags: flags('MSG_') } },
  setrlimit: limit,
  setsockopt: socketOption,
  shutdown: { words: { how: name('SHUT_') } },
  signalfd4: { words: { flags: flags('SFD_') } },
  socket,
  socketpair: socket,
  statx: { words: atFlags },
  tgkill: signal,
  timerfd_create: { words: { clockid: name('CLOCK_'), flags: flags('TFD_') } },
  tkill: signal,
  unlinkat: { words: { flag: flags('AT_', /^AT_(?!REMOVEDIR)/) } },
  unshare: { words: { unshare_flags: flags('CLONE_', /^CLONE_ARGS_/) }, selects: ['unshare_flags'] },
  userfaultfd: { words: { flags: flags('O_') } },
};

/** Arguments that point to a text that ends with NUL. */
export const textArguments: ReadonlySet<string> = new Set([
  'dev_name',
  'dir_name',
  'filename',
  'from_path',
  'from_pathname',
  'fs_name',
  'library',
  'name',
  'new_root',
  'newname',
  'oldname',
  'path',
  'pathname',
  'put_old',
  'special',
  'specialfile',
  'to_path',
  'to_pathname',
  'uname_ptr',
]);

/** Arguments that are descriptors of the caller. */
export const fdArguments: ReadonlySet<string> = new Set([
  'dfd',
  'epfd',
  'fd',
  'fd_in',
  'fd_out',
  'fildes',
  'from_dfd',
  'in_fd',
  'newdfd',
  'olddfd',
  'oldfd',
  'out_fd',
  'pidfd',
  'to_dfd',
  'ufd',
]);
