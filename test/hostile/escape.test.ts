// SPDX-License-Identifier: Apache-2.0
// Attempts to get out of the stages of the shipped QEMU profile, made by a program that has taken the VMM's place. Each must end in exactly this errno.
import { rmSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { OwnedFd } from '../../core/owned-fd.ts';
import { addressToSockaddr, parseAddress } from '../../core/policy/address/index.ts';
import { native } from '../../native/index.ts';
import { imprison, type Prisoner } from './prison.ts';

/** By what becomes of it in `running`: names of programs/escape.c. */
const refused = {
  EACCES: `
    execve execveat-cwd execveat-place execveat-place-absolute execveat-place-high execveat-memory open openat
    openat-self-mem openat-relative openat-held openat-dots openat-dots-under-grant openat-write-readonly openat-create-under-grant
    openat-truncate-readonly connect-ungranted connect-metadata connect-mapped-other connect-compatible
    connect-v6-loopback connect-nat64 connect-high-length connect-unix connect-unix-relative connect-unix-dots
    connect-abstract connect-abstract-empty connect-unix-unnamed bind-ungranted bind-any-port bind-unix bind-autobind
    bind-abstract listen-unbound listen-unbound-6 sendto-fastopen sendto-address
    sendto-address-4g`,
  EAFNOSUPPORT: `
    socket-packet socket-raw socket-udp socket-udp-high socket-unix-dgram socket-unix-seqpacket socket-alg socket-vsock
    socket-mptcp socket-sctp socket-smc socket-bluetooth socket-netfilter socket-uevent socket-audit socket-diag
    socket-route-dgram socket-old-packet socket-type-garbage connect-wrong-family`,
  EBADF: `
    connect-no-fd`,
  EFAULT: `
    openat-bad-pointer openat-kernel-pointer connect-bad-pointer`,
  EINVAL: `
    dupfd-place dupfd-cloexec-place openat-path-only openat-tmpfile openat-access-3 connect-unspec
    connect-short connect-odd-length connect-long connect-huge connect-negative connect-empty bind-unspec
    listen-unbound-unix`,
  ENOENT: `
    unlink stat newfstatat-path access`,
  ENOSYS: `
    clone3 openat2 openat2-longer openat2-high-flags statx io-uring-setup io-uring-enter newest-call above-table far-above-table`,
  ENOTSOCK: `
    connect-not-a-socket listen-no-socket`,
  EOPNOTSUPP: `
    sendmsg-unix-address`,
  EPERM: `
    fork vfork clone-fork clone-vfork clone-vm clone-thread-own-files clone-thread-newns clone-thread-untraced
    clone-thread-ptrace clone-thread-parent clone-thread-io clone-thread-signal clone-newuser clone-newnet clone-newpid
    clone-pidfd clone-high unshare-user unshare-files setns dup2-place dup3-place prlimit-raise prlimit-high setrlimit
    name-to-handle rename renameat2 mkdir mkdirat mknod symlink link linkat-fd chmod fchmod chown truncate utimensat setxattr
    unlinkat creat sendto-unconnected sendto-fastopen-null sendto-fastopen-high readlink getdents chdir fchdir chroot inotify fanotify memfd-secret sendfile splice io-setup
    userfaultfd mmap-exec mmap-exec-high mmap-exec-memory mprotect-exec pkey-mprotect-exec shmget shmat-exec
    remap-file-pages personality personality-query arch-prctl bpf perf-event-open keyctl add-key seccomp-listener
    seccomp-tsync-listener seccomp-log seccomp-spec-allow seccomp-strict seccomp-sizes process-madvise
    pidfd-open pidfd-getfd pidfd-send-signal kcmp kill tkill tgkill tgkill-self rt-sigqueueinfo rt-tgsigqueueinfo
    sched-setaffinity sched-setscheduler setpriority migrate-pages timer-create setitimer setsid setpgid setuid capset wait4
    prctl-dumpable prctl-ptracer prctl-mm prctl-tsc prctl-pdeathsig prctl-seccomp prctl-capbset prctl-subreaper
    prctl-dispatch prctl-keepcaps prctl-speculation ioctl-tiocsti ioctl-tiocsti-high ioctl-tioclinux ioctl-tiocsetd
    ioctl-tiocsctty ioctl-fiosetown ioctl-siocspgrp ioctl-siocgifconf ioctl-siocsifflags ioctl-fioasync ioctl-ficlone
    ioctl-sg-io ioctl-kvm-create-vm ioctl-tunsetiff fcntl-setown fcntl-setown-ex fcntl-setsig fcntl-notify fcntl-setlease
    fcntl-rw-hint fcntl-high socketpair-dgram socketpair-seqpacket accept sendmsg-fastopen sendmmsg recvmmsg
    option-fastopen-connect option-fastopen option-repair option-ulp option-bind-to-device option-reuse-port option-mark
    option-attach-filter option-pass-credentials option-transparent option-free-bind option-high adjtimex syslog quotactl
    lookup-dcookie`,
  EPIPE: `
    sendmsg-address`,
};

/** What nobody but an attacker calls ends the process, in every stage. */
const deadly = `
  open-by-handle negative-number modify-ldt ptrace process-vm-readv process-vm-writev mount umount2 pivot-root open-tree
  fsopen init-module reboot iopl ioperm sethostname clock-settime x32-getpid x32-execve int80`;

const names = (text: string): readonly string[] => text.trim().split(/\s+/);
const servers: Server[] = [];
let ungrantedConnections = 0;
let granted = 0;
let ungranted = 0;
let bindable = 0;
let fullPath = '';
let full: OwnedFd;
let prisoner: Prisoner;

async function server(onConnection: () => void): Promise<number> {
  const made = createServer((socket) => {
    onConnection();
    socket.on('error', () => undefined);
    socket.destroy();
  });
  servers.push(made);
  await new Promise<void>((resolve) => made.listen(0, '127.0.0.1', resolve));
  const address = made.address();
  return typeof address === 'object' && address !== null ? address.port : 0;
}

/** A unix listener whose queue is full and is never read. */
function fullListener(path: string): OwnedFd {
  const address = addressToSockaddr(parseAddress(`unix:${path}`));
  const listener = new OwnedFd(native.createSocket({ domain: 1, type: 1, protocol: 0 }));
  native.bindSocket({ fd: listener.fd, address });
  native.listenSocket({ fd: listener.fd, backlog: 0 });
  using client = new OwnedFd(native.createSocket({ domain: 1, type: 1, protocol: 0 }));
  native.connectSocket({ fd: client.fd, address });
  return listener;
}

beforeAll(async () => {
  granted = await server(() => undefined);
  ungranted = await server(() => {
    ungrantedConnections += 1;
  });
  const reserved = createServer();
  await new Promise<void>((resolve) => reserved.listen(0, '127.0.0.1', resolve));
  bindable = (reserved.address() as { port: number }).port;
  await new Promise((resolve) => reserved.close(resolve));
  fullPath = `/tmp/ratchet-escape-${process.pid}`;
  full = fullListener(fullPath);
  prisoner = await imprison([
    { request: 'connect', target: `tcp:127.0.0.1:${granted}` },
    { request: 'connect', target: `unix:${fullPath}` },
    { request: 'bind', target: `tcp:127.0.0.1:${bindable}` },
    { request: 'bind', target: `tcp:[::]:${bindable}` },
  ]);
});

afterAll(async () => {
  await prisoner[Symbol.asyncDispose]();
  for (const made of servers) made.close();
  full.close();
  rmSync(fullPath, { force: true });
});

/** The number that an attempt needs: somebody else's process, or a port. */
function argumentsOf(name: string): string {
  const aimed =
    /^(ptrace|process-vm|pidfd-open|kcmp|kill|tkill|tgkill|rt-|sched|setpriority|migrate-pages|fcntl-set|fcntl-high)/;
  return aimed.test(name) ? `${process.pid} 0` : `${granted} 0`;
}

describe('in start', () => {
  test.each([
    ['execveat-place-absolute', 'EACCES'],
    ['execveat-place-high', 'EACCES'],
    ['execveat-place', 'EACCES'],
    ['execveat-memory', 'EACCES'],
    ['execve', 'EACCES'],
    ['clone-fork', 'EPERM'],
    ['dup2-place', 'EBADF'],
    ['dup3-place', 'EBADF'],
    ['dupfd-place', 'EINVAL'],
    ['prlimit-raise', 'EPERM'],
    ['prlimit-high', 'EPERM'],
    ['setrlimit', 'EPERM'],
    ['listen-unbound', 'EACCES'],
    ['connect-ungranted', 'EACCES'],
    ['seccomp-listener', 'EINVAL'],
  ])('%s: %s', async (name, expected) => {
    expect(await prisoner.attempt(`${name} ${argumentsOf(name)}`)).toBe(expected);
  });
});

describe('in running', () => {
  beforeAll(async () => {
    await prisoner.tighten();
  });

  for (const [expected, attempts] of Object.entries(refused))
    test.each(names(attempts))(`%s: ${expected}`, async (name) => {
      expect(await prisoner.attempt(`${name} ${argumentsOf(name)}`)).toBe(expected);
    });

  // 10 (SIGUSR1, which opens Node's inspector) and 6 (SIGABRT) pass the filter: Landlock's scope stops them.
  test.each([9, 15, 19, 10, 6])('signal %i does not reach the launcher or the broker', async (signal) => {
    for (const pid of [process.pid, prisoner.broker.pid])
      expect(await prisoner.attempt(`tgkill ${pid} ${signal}`)).toBe('EPERM');
  });

  test('an address that another thread rewrites reaches nothing but what was granted', async () => {
    expect(await prisoner.attempt(`race-sockaddr ${granted} ${ungranted}`)).toBe('= 0');
    expect(ungrantedConnections).toBe(0);
  });

  test('a thread that takes O_NONBLOCK away does not hold the broker up', async () => {
    await using doomed = await imprison([{ request: 'connect', target: `unix:${fullPath}` }]);
    await doomed.tighten();
    expect(await doomed.attempt(`race-blocking ${process.pid}`)).toBe('= 0');
    const asked = performance.now();
    for (let turn = 0; turn < 500; turn++) expect((await doomed.broker.client.status()).listener).toBe('attached');
    expect(performance.now() - asked).toBeLessThan(30_000);
  });

  test.each([
    ['flood', 'EACCES'],
    ['threads-ask-and-end', '= 0'],
    ['threads-end', '= 0'],
    ['fill-descriptors', 'EMFILE'],
  ])('%s: %s, and the broker goes on', async (name, expected) => {
    expect(await prisoner.attempt(name)).toBe(expected);
    expect((await prisoner.broker.client.status()).listener).toBe('attached');
  });

  test('what is granted goes on working', async () => {
    expect(await prisoner.attempt(`connect-granted ${granted}`)).toBe('= 0');
    expect(await prisoner.attempt(`connect-mapped-granted ${granted}`)).toBe('= 0');
    expect(await prisoner.attempt('open-granted')).toBe('= 0');
    expect(await prisoner.attempt(`listen-bound ${bindable}`)).toBe('= 0');
  });

  test('the stage sealed takes the grants too', async () => {
    await prisoner.tighten();
    expect(await prisoner.attempt(`connect-granted ${granted}`)).toBe('EACCES');
    expect(await prisoner.attempt(`listen-bound ${bindable}`)).toBe('EACCES');
    expect(await prisoner.attempt('open-granted')).toBe('EACCES');
  });

  test('with its broker killed it is refused what the broker would judge, and lives', async () => {
    prisoner.broker.child.kill('SIGKILL');
    await new Promise((resolve) => prisoner.broker.child.once('exit', resolve));
    expect(await prisoner.attempt(`connect-granted ${granted}`)).toBe('ENOSYS');
    expect(await prisoner.attempt('threads-end')).toBe('= 0');
  });
});

describe('the process ends at', () => {
  test.each(names(deadly))('%s', async (name) => {
    await using doomed = await imprison();
    await doomed.tighten();
    expect(await doomed.attempt(`${name} ${argumentsOf(name)}`)).toBe('ended by SIGSYS');
  });

  test('IPV6_V6ONLY taken away during a bind', async () => {
    await using doomed = await imprison([{ request: 'bind', target: `tcp:[::]:${bindable}` }]);
    await doomed.tighten();
    // The race is lost now and then for a whole run: then nothing was bound that should not be.
    expect(await doomed.attempt(`race-v6only ${bindable}`)).toMatch(/^(ended by SIGKILL|= 0)$/);
  });

  test.each(['seccomp-own', 'seccomp-plain'])('a filter of its own (%s), at the next stage', async (attempt) => {
    await using doomed = await imprison();
    await doomed.tighten();
    expect(await doomed.attempt(attempt)).toBe('= 0');
    await expect(doomed.tighten()).rejects.toThrow(/VERIFICATION_FAILED|filters/);
  });
});
