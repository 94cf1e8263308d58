// SPDX-License-Identifier: Apache-2.0
// Parameter names and widths from the prototypes in the kernel's include/linux/syscalls.h. A parameter that is 32 bits wide in the kernel is
// truncated by the kernel's own entry code (SYSCALL_DEFINE), so the high half of its register means nothing: `low32`. All else is `full64`.

import { newerPrototypes } from './newer.mjs';

/** @typedef {{ names: readonly string[], width: 'low32' | 'full64' }} Parameter */

/** Calls whose kernel function has another name than the call. From asm-generic/unistd.h and arch/x86/entry/syscalls/syscall_64.tbl. */
const functionNames = {
  stat: 'newstat',
  fstat: 'newfstat',
  lstat: 'newlstat',
  uname: 'newuname',
  umount2: 'umount',
  sendfile: 'sendfile64',
};

/** Calls that syscalls.h does not declare for these architectures, or declares by configuration. */
const missingPrototypes = {
  _sysctl: 'struct __sysctl_args *args',
  afs_syscall: '',
  arch_prctl: 'int option, unsigned long addr',
  clone: 'unsigned long flags, unsigned long stack, int *parent_tid, int *child_tid, unsigned long tls',
  create_module: '',
  epoll_ctl_old: '',
  epoll_wait_old: '',
  get_kernel_syms: '',
  get_thread_area: '',
  getpmsg: '',
  ioperm: 'unsigned long from, unsigned long num, int turn_on',
  iopl: 'unsigned int level',
  lookup_dcookie: 'u64 cookie64, char *buf, size_t len',
  mmap: 'unsigned long addr, unsigned long length, unsigned long prot, unsigned long flags, unsigned long fd, unsigned long offset',
  modify_ldt: 'int func, void *ptr, unsigned long bytecount',
  nfsservctl: '',
  putpmsg: '',
  query_module: '',
  rt_sigreturn: '',
  security: '',
  set_thread_area: '',
  tuxcall: '',
  uselib: 'const char *library',
  vserver: '',
};

/** Architectures with CONFIG_CLONE_BACKWARDS take the last two in the other order. */
export const prototypesOfArch = {
  x86_64: {},
  aarch64: { clone: 'unsigned long flags, unsigned long stack, int *parent_tid, unsigned long tls, int *child_tid' },
  riscv64: { clone: 'unsigned long flags, unsigned long stack, int *parent_tid, unsigned long tls, int *child_tid' },
};

/** Names for parameters that the header leaves unnamed, from the manual pages. */
const manualNames = {
  socket: ['domain', 'type', 'protocol'],
  socketpair: ['domain', 'type', 'protocol', 'sv'],
  bind: ['fd', 'addr', 'addrlen'],
  listen: ['fd', 'backlog'],
  accept: ['fd', 'addr', 'addrlen'],
  accept4: ['fd', 'addr', 'addrlen', 'flags'],
  connect: ['fd', 'addr', 'addrlen'],
  getsockname: ['fd', 'addr', 'addrlen'],
  getpeername: ['fd', 'addr', 'addrlen'],
  sendto: ['fd', 'buf', 'len', 'flags', 'addr', 'addrlen'],
  recvfrom: ['fd', 'buf', 'len', 'flags', 'addr', 'addrlen'],
  shutdown: ['fd', 'how'],
  pselect6: ['n', 'inp', 'outp', 'exp', 'tsp', 'sig'],
  ppoll: ['fds', 'nfds', 'tsp', 'sigmask', 'sigsetsize'],
  rt_sigaction: ['sig', 'act', 'oact', 'sigsetsize'],
  sigaltstack: ['ss', 'oss'],
  getcpu: ['cpup', 'nodep', 'unused'],
  ustat: ['dev', 'ubuf'],
  sched_rr_get_interval: ['pid', 'interval'],
  io_submit: ['ctx_id', 'nr', 'iocbpp'],
};

/** The name a manual page uses, where the kernel's name is another. Both are accepted in profiles. */
const aliases = {
  ioctl: { cmd: 'request' },
  fcntl: { cmd: 'op' },
  execveat: { dfd: 'dirfd', fd: 'dirfd', filename: 'pathname' },
  execve: { filename: 'pathname' },
  openat: { dfd: 'dirfd', filename: 'pathname' },
  openat2: { dfd: 'dirfd', filename: 'pathname' },
  open: { filename: 'pathname' },
  madvise: { behavior: 'advice', start: 'addr' },
  mprotect: { start: 'addr' },
  futex: { op: 'futex_op' },
  prctl: { option: 'op' },
  seccomp: { op: 'operation', uargs: 'args' },
  prlimit64: { new_rlim: 'new_limit', old_rlim: 'old_limit' },
  sendmsg: { msg: 'msghdr' },
  accept4: { fd: 'sockfd' },
  socket: { domain: 'family' },
  tgkill: { sig: 'signal' },
  kill: { sig: 'signal' },
  tkill: { sig: 'signal' },
  membarrier: { cmd: 'command' },
  newfstatat: { dfd: 'dirfd', flag: 'flags' },
  unlinkat: { dfd: 'dirfd', flag: 'flags' },
  mmap: { length: 'len' },
  arch_prctl: { option: 'op' },
};

const wide =
  /\*|\b(long|size_t|ssize_t|loff_t|off_t|u64|__u64|aio_context_t|cap_user_header_t|cap_user_data_t|old_sigset_t|sigset_t|__sighandler_t|uintptr_t)\b/;
const narrow =
  /\b(int|unsigned|uint32_t|int32_t|u32|__u32|s32|__s32|pid_t|uid_t|gid_t|qid_t|umode_t|mode_t|key_t|key_serial_t|mqd_t|clockid_t|timer_t|rwf_t|enum \w+|old_uid_t|old_gid_t|old_time_t|short|__kernel_timer_t)\b/;

/**
 * Parameters of each call.
 * @param {string} headerText include/linux/syscalls.h
 * @param {readonly string[]} calls
 * @returns {ReadonlyMap<string, readonly Parameter[]>}
 */
export function signatures(headerText, calls) {
  const prototypes = parsePrototypes(headerText);
  const table = new Map();
  for (const call of [...calls].sort()) {
    const text = missingPrototypes[call] ?? newerPrototypes[call] ?? prototypes.get(functionNames[call] ?? call);
    if (text === undefined) throw new Error(`no prototype for ${call}: add one to missingPrototypes`);
    table.set(call, parseParameters(call, text));
  }
  return table;
}

/**
 * @param {string} headerText
 * @returns {Map<string, string>}
 */
function parsePrototypes(headerText) {
  const text = headerText.replace(/\/\*[\s\S]*?\*\//g, '').replace(/\/\/.*/g, '');
  const prototypes = new Map();
  for (const match of text.matchAll(/asmlinkage\s+\w+\s+(?:long\s+)?sys_(\w+)\s*\(([^;]*)\)\s*;/g)) {
    const name = String(match[1]);
    if (!prototypes.has(name)) prototypes.set(name, String(match[2]).replace(/\s+/g, ' ').trim());
  }
  for (const match of text.matchAll(
    /asmlinkage\s+(?:unsigned\s+)?(?:long|ssize_t|int)\s+sys_(\w+)\s*\(([^;]*)\)\s*;/g,
  )) {
    const name = String(match[1]);
    if (!prototypes.has(name)) prototypes.set(name, String(match[2]).replace(/\s+/g, ' ').trim());
  }
  return prototypes;
}

/**
 * @param {string} call
 * @param {string} text
 * @returns {Parameter[]}
 */
export function parseParameters(call, text) {
  if (text === '' || text === 'void') return [];
  return text.split(',').map((parameter, index) => {
    const clean = parameter
      .replace(/\b(__user|const|__force)\b/g, ' ')
      .replace(/\s+/g, ' ')
      .trim();
    const name = manualNames[call]?.[index] ?? parameterName(clean) ?? `arg${index}`;
    const alias = aliases[call]?.[name];
    return { names: alias === undefined ? [name] : [name, alias], width: width(call, clean) };
  });
}

/** @param {string} clean */
function parameterName(clean) {
  const name = /(?:^|[\s*])(\w+)(?:\[\w*\])?$/.exec(clean)?.[1];
  const words = clean.replace(/[*]/g, ' ').trim().split(/\s+/);
  const isTypeOnly =
    words.length === 1 ||
    (words.length === 2 && /^(struct|union|enum)$/.test(String(words[0]))) ||
    /^(int|long|unsigned|char|short)$/.test(String(name));
  return name === undefined || isTypeOnly ? undefined : name;
}

/**
 * @param {string} call
 * @param {string} clean
 */
function width(call, clean) {
  if (wide.test(clean) || /\[\w*\]$/.test(clean)) return 'full64';
  if (narrow.test(clean)) return 'low32';
  throw new Error(`${call}: width of "${clean}" is not known`);
}
