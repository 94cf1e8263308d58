// SPDX-License-Identifier: Apache-2.0
// Calls that the language treats with care, each list with its reason.

/**
 * Calls that give a confined process a way out or a hold on others: new programs, other processes' memory, kernel code, mounts, namespaces,
 * and rings whose operations no filter sees. Letting one through needs a condition, or a `risk` that says why not.
 */
export const dangerousCalls: ReadonlySet<string> = new Set([
  'acct',
  'add_key',
  'bpf',
  'chroot',
  'clock_settime',
  'clone',
  'clone3',
  'delete_module',
  'execve',
  'execveat',
  'fanotify_init',
  'finit_module',
  'fork',
  'fsconfig',
  'fsmount',
  'fsopen',
  'fspick',
  'init_module',
  'io_uring_enter',
  'io_uring_register',
  'io_uring_setup',
  'ioperm',
  'iopl',
  'kcmp',
  'kexec_file_load',
  'kexec_load',
  'keyctl',
  'modify_ldt',
  'mount',
  'mount_setattr',
  'move_mount',
  'move_pages',
  'name_to_handle_at',
  'open_by_handle_at',
  'open_tree',
  'open_tree_attr',
  'perf_event_open',
  'personality',
  'pidfd_getfd',
  'pivot_root',
  'process_madvise',
  'process_vm_readv',
  'process_vm_writev',
  'ptrace',
  'quotactl',
  'quotactl_fd',
  'reboot',
  'request_key',
  'seccomp',
  'setdomainname',
  'sethostname',
  'setns',
  'settimeofday',
  'swapoff',
  'swapon',
  'syslog',
  'umount2',
  'unshare',
  'userfaultfd',
  'vfork',
]);

/**
 * Never answered by the broker: a process that waits for a dead or slow broker in one of these can neither end nor be resumed
 * (and a notified futex or munmap stops every lock and every exit of a thread).
 */
export const neverBrokered: ReadonlySet<string> = new Set(['exit', 'exit_group', 'rt_sigreturn', 'futex', 'munmap']);

/**
 * Made when nobody would answer as it needs to be, so never notified for a later stage's sake: the stager hands its listener over by `sendmsg` and closes it
 * before anybody serves it, and the launcher installs a stage by `landlock_restrict_self` and `seccomp` when the broker judges by that stage already.
 */
export const madeByLauncher: ReadonlySet<string> = new Set(['sendmsg', 'close', 'landlock_restrict_self', 'seccomp']);

/**
 * What moves data and what every loop of a program makes: from some hundred to some ten thousand of each in the recordings of QEMU (profiles/qemu.counts.json). To notify
 * one would cost every thread more than it is worth to hear that a thread in a role was refused it: 12 us instead of 0.3 on an idle machine, all in the one thread of the
 * broker, and with a dead broker nobody could make it any more. (SECCOMP_FILTER_FLAG_LOG would have the kernel tell of it; then whoever has taken
 * over a thread could fill the host's audit log. A filter knows no threads, and a second listener is refused with EBUSY.)
 */
export const madeAllTheTime: ReadonlySet<string> = new Set([
  'brk',
  'clock_gettime',
  'clock_nanosleep',
  'close',
  'epoll_pwait',
  'epoll_pwait2',
  'epoll_wait',
  'fdatasync',
  'getpid',
  'io_getevents',
  'io_submit',
  'ioctl',
  'lseek',
  'madvise',
  'mmap',
  'mprotect',
  'nanosleep',
  'poll',
  'ppoll',
  'pread64',
  'preadv',
  'preadv2',
  'pselect6',
  'pwrite64',
  'pwritev',
  'pwritev2',
  'read',
  'readv',
  'recvfrom',
  'recvmmsg',
  'recvmsg',
  'restart_syscall',
  'rt_sigaction',
  'rt_sigprocmask',
  'rt_sigtimedwait',
  'sched_yield',
  'select',
  'sendmmsg',
  'sendmsg',
  'sendto',
  'tgkill',
  'timerfd_settime',
  'write',
  'writev',
]);

/** Nobody is told when a role, of all that its stage permits, refuses one of these. The profile has to say that it knows (`untold`, or a quiet refusal). */
export const untoldOfRoles: ReadonlySet<string> = new Set([...madeAllTheTime, ...madeByLauncher, ...neverBrokered]);
