// SPDX-License-Identifier: Apache-2.0
/** Attempts to get out, by their names in test/hostile/programs/escape.c. */
export interface Attempt {
  readonly name: string;
  /** In words, for docs/layers.md. */
  readonly what: string;
  /** The process dies of it under the filter, or it would not be itself any more if it came through: tried with the filter in force only. */
  readonly filterOnly?: true;
  /** The filter ends the process. */
  readonly deadly?: true;
}

const groups: readonly (readonly [what: string, names: string])[] = [
  ['read a file that was not granted', 'open openat openat2 openat-relative openat-held openat-dots'],
  [
    'make, rename, link or remove files',
    'creat openat-tmpfile mkdir mkdirat mknod symlink link rename truncate unlink',
  ],
  ['change modes, owners, attributes', 'chmod! chown setxattr!'],
  ['file handles', 'name-to-handle open-by-handle!'],
  ['another root or directory', 'chroot! pivot-root! fchdir'],
  ['start a program', 'execve! execveat-cwd! execveat-memory!'],
  ['start a process', 'fork! vfork! clone-fork! clone3!'],
  ['new namespaces', 'clone-newuser! clone-newnet! clone-newpid! unshare-user! setns'],
  ['trace a sibling, read or write its memory', 'ptrace! process-vm-readv! process-vm-writev! kcmp'],
  ['a sibling by its pidfd', 'pidfd-open pidfd-getfd pidfd-send-signal'],
  ['signal a sibling', 'kill tkill tgkill rt-sigqueueinfo fcntl-setown'],
  ['where and when a sibling runs', 'sched-setaffinity setpriority migrate-pages'],
  ['sockets that see all traffic', 'socket-packet socket-raw socket-netfilter socket-audit'],
  ['sockets of other families', 'socket-udp socket-unix-dgram socket-alg socket-vsock socket-sctp'],
  [
    'connect where it was not granted',
    'connect-ungranted connect-v6-loopback connect-unix connect-abstract sendto-fastopen',
  ],
  ['bind and listen', 'bind-ungranted bind-any-port bind-abstract listen-unbound'],
  ['calls that no filter sees', 'io-uring-setup'],
  ['large parts of the kernel', 'bpf perf-event-open userfaultfd keyctl add-key fanotify inotify memfd-secret'],
  ['System V memory', 'shmget'],
  ['the kernel and its log', 'init-module! reboot! syslog adjtimex quotactl'],
  ['mounts', 'mount! umount2! open-tree! fsopen!'],
  ['the host name, the clock, ports', 'sethostname! clock-settime! iopl! ioperm!'],
  ['memory that can be executed', 'mmap-exec mprotect-exec'],
  ['more rights', 'setuid capset prlimit-raise seccomp-listener!'],
  ['devices', 'ioctl-tiocsti ioctl-kvm-create-vm ioctl-tunsetiff ioctl-siocsifflags'],
  ['calls of another ABI', 'x32-getpid! int80!'],
];

const deadly = new Set(
  `open-by-handle ptrace process-vm-readv process-vm-writev mount umount2 pivot-root open-tree fsopen init-module reboot iopl ioperm sethostname
  clock-settime x32-getpid int80`.split(/\s+/),
);

export const attempts: readonly Attempt[] = groups.flatMap(([what, names]) =>
  names.split(' ').map((name): Attempt => {
    const plain = name.replace('!', '');
    if (deadly.has(plain)) return { name: plain, what, filterOnly: true, deadly: true };
    return name === plain ? { name, what } : { name: plain, what, filterOnly: true };
  }),
);
