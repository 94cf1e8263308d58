// SPDX-License-Identifier: Apache-2.0
// What each probe of native/probe means to somebody who wants to run a VM: what is lost where it fails, and what to do about it.

export interface Check {
  readonly probe: string;
  readonly title: string;
  /** `must`: ratchet cannot run a VMM without. `full`: it can, and the report then says what is absent. `feature`: only some profiles or features need it. */
  readonly need: 'must' | 'full' | 'feature';
  /** What is lost without it. */
  readonly lost: string;
  /** What to do about it, for any errno that has no cure of its own in `cures`. */
  readonly cure: string;
  /** By errno name. */
  readonly cures?: Readonly<Record<string, string>>;
}

const traced =
  'ratchet must run as the user of the VMM or with CAP_SYS_PTRACE; in a container, its own filter must allow ptrace';
const container = "the container's seccomp profile must allow it";

/** In the order of the table that people see. A test compares the names with those that the program prints. */
export const checks: readonly Check[] = [
  {
    probe: 'filter',
    title: 'seccomp filters',
    need: 'must',
    lost: 'everything',
    cure: `a kernel with CONFIG_SECCOMP_FILTER; ${container}`,
  },
  {
    probe: 'actions',
    title: 'all actions of filters',
    need: 'must',
    lost: 'the named action: rules that use it would do something else',
    cure: 'Linux 4.14 or newer',
  },
  {
    probe: 'tsync',
    title: 'one filter for all threads at once (TSYNC)',
    need: 'must',
    lost: 'later stages',
    cure: 'Linux 3.17 or newer',
  },
  {
    probe: 'filter-count',
    title: 'filters are counted in /proc',
    need: 'must',
    lost: 'the proof that a stage is on in every thread',
    cure: 'Linux 5.9 or newer, and /proc mounted',
  },
  {
    probe: 'listener',
    title: 'notification of a supervisor',
    need: 'must',
    lost: 'the broker: connect, bind and open would have to be refused',
    cure: `Linux 5.0 or newer; ${container}`,
    cures: {
      EBUSY:
        'a container manager supervises this process (Incus, some Kubernetes runtimes): switch its system call interception off',
    },
  },
  {
    probe: 'addfd',
    title: 'giving a descriptor to a waiting call (ADDFD)',
    need: 'must',
    lost: 'files that the broker opens for the VMM',
    cure: 'Linux 5.14 or newer',
  },
  {
    probe: 'pidfd-getfd',
    title: "copying a descriptor of the VMM's (pidfd_getfd)",
    need: 'must',
    lost: 'connect and bind on sockets of the VMM',
    cure: `Linux 5.6 or newer; ${traced}`,
  },
  {
    probe: 'read-memory',
    title: "reading the VMM's memory (process_vm_readv)",
    need: 'must',
    lost: 'the broker: it could not see addresses and paths',
    cure: traced,
  },
  {
    probe: 'ptrace',
    title: 'stopping the VMM (ptrace)',
    need: 'must',
    lost: 'later stages',
    cure: `Linux 5.3 or newer; ${traced}`,
  },
  {
    probe: 'yama',
    title: 'Yama permits tracing of own children',
    need: 'must',
    lost: 'later stages',
    cure: 'kernel.yama.ptrace_scope = 0 or 1 (2 needs CAP_SYS_PTRACE, 3 forbids tracing until the next boot)',
  },
  {
    probe: 'close-range',
    title: 'closing ranges of descriptors',
    need: 'must',
    lost: 'the exact set of descriptors that the VMM starts with',
    cure: `Linux 5.9 or newer; ${container}`,
  },
  {
    probe: 'open-files',
    title: '16384 open files',
    need: 'must',
    lost: 'the single exec of the VMM rests on a descriptor number',
    cure: 'raise the hard limit of open files to 16384 (LimitNOFILE=, ulimit -Hn)',
  },
  {
    probe: 'own-filters',
    title: 'no filter of somebody else',
    need: 'full',
    lost: 'reading programs back; and what the outer filter refuses stays refused',
    cure: 'run without the container manager\'s profile ("Unconfined", --security-opt seccomp=unconfined), or accept it',
  },
  {
    probe: 'wait-killable',
    title: 'brokered calls wait through signals (WAIT_KILLABLE_RECV)',
    need: 'full',
    lost: 'a signal can interrupt a call that the broker works on, and the VMM may make it twice',
    cure: 'Linux 5.19 or newer',
  },
  {
    probe: 'wait-killable-race',
    title: 'and their answers do not get lost',
    need: 'full',
    lost: 'a signal that meets the answer makes the VMM repeat the call',
    cure: 'Linux 6.18, or a stable kernel with its repair',
  },
  {
    probe: 'read-back',
    title: 'reading installed programs back',
    need: 'full',
    lost: 'filters are counted, not compared byte for byte',
    cure: 'run ratchet with CAP_SYS_ADMIN and under no filter, on a kernel with CONFIG_CHECKPOINT_RESTORE',
  },
  {
    probe: 'signal-scope',
    title: "the VMM's signals stay inside (Landlock)",
    need: 'full',
    lost: 'the VMM can send SIGUSR1 and SIGABRT to processes of the same user',
    cure: 'Linux 6.12 or newer with landlock in the list of security modules (lsm=...,landlock); or give each VM a user of its own',
  },
  {
    probe: 'landlock',
    title: 'Landlock',
    need: 'full',
    lost: 'the wall behind the filters: paths, ports and signals',
    cure: 'Linux 5.13 or newer with landlock in the list of security modules (lsm=...,landlock)',
  },
  {
    probe: 'sync-wake-up',
    title: 'fast hand-over to the supervisor (SYNC_WAKE_UP)',
    need: 'feature',
    lost: 'some speed of brokered calls',
    cure: 'Linux 6.6 or newer',
  },
  {
    probe: 'pidfd-thread',
    title: 'pidfds of threads',
    need: 'feature',
    lost: 'nothing: ratchet goes by the whole process where a thread cannot be named',
    cure: 'Linux 6.9 or newer',
  },
  {
    probe: 'kvm',
    title: 'KVM',
    need: 'feature',
    lost: '-accel kvm: guests run under TCG, slowly',
    cure: 'load kvm_intel or kvm_amd, and give the user /dev/kvm (group kvm)',
  },
  {
    probe: 'tun',
    title: 'tap devices',
    need: 'feature',
    lost: 'NICs on tap devices',
    cure: 'load tun, give the broker /dev/net/tun and CAP_NET_ADMIN; or use passt',
  },
  {
    probe: 'userfaultfd',
    title: 'userfaultfd for kernel faults',
    need: 'feature',
    lost: 'post-copy migration and background snapshots',
    cure: 'vm.unprivileged_userfaultfd = 1, or CAP_SYS_PTRACE for the VMM',
  },
  {
    probe: 'io-uring',
    title: 'io_uring',
    need: 'feature',
    lost: 'aio=io_uring. The shipped profile refuses rings anyway: what they do passes no filter',
    cure: 'kernel.io_uring_disabled = 0',
  },
  {
    probe: 'user-namespaces',
    title: 'user namespaces',
    need: 'feature',
    lost: 'namespaces for a VMM without root',
    cure: 'user.max_user_namespaces above 0; Debian: kernel.unprivileged_userns_clone = 1',
  },
  {
    probe: 'pid-namespaces',
    title: 'pid namespaces',
    need: 'feature',
    lost: 'the layer namespace-pid: leave it out',
    cure: 'CAP_SYS_ADMIN, or user namespaces; Linux 5.3 or newer',
  },
  {
    probe: 'own-root',
    title: 'a root of its own (open_tree, mount_setattr)',
    need: 'feature',
    lost: 'the layer root: leave it out',
    cure: 'CAP_SYS_ADMIN, or user namespaces; Linux 5.12 or newer',
  },
  {
    probe: 'cgroup',
    title: 'cgroup v2, with these controllers',
    need: 'feature',
    lost: 'the layer cgroup, which only a launcher that asks for it has',
    cure: 'mount cgroup2 (systemd.unified_cgroup_hierarchy=1)',
  },
  {
    probe: 'audit',
    title: "the kernel's audit records",
    need: 'feature',
    lost: 'the name of the call in the explanation of a death by SIGSYS',
    cure: 'run ratchet with CAP_AUDIT_READ, in the first network namespace',
  },
  {
    probe: 'kernel-log',
    title: 'the kernel log',
    need: 'feature',
    lost: 'as above, where no audit daemon runs',
    cure: 'run ratchet with CAP_SYSLOG, or kernel.dmesg_restrict = 0',
  },
];
