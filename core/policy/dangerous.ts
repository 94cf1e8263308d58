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

/** By which the launcher installs a stage's program through a thread of the VMM. */
export const installsFilters: ReadonlySet<string> = new Set(['seccomp']);
