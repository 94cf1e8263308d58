// SPDX-License-Identifier: Apache-2.0
// The typed face of the addon: small synchronous primitives, one options object each. No policy and no defaults live here.
// A failed system call throws a `NativeError`: { code: 'EACCES', errno: 13, syscall: 'connect', message }.

import { createRequire } from 'node:module';
import { packagePath } from './package-path.ts';

export interface NativeError extends Error {
  readonly code: string;
  readonly errno: number;
  readonly syscall: string;
}

/** `data` is undefined when nothing is waiting (EAGAIN); `endOfFile` when the peer is gone. fds arrive close-on-exec. */
export type Received =
  | { readonly kind: 'message'; readonly data: Buffer; readonly fds: readonly number[] }
  | { readonly kind: 'again' }
  | { readonly kind: 'end' };

export interface Notification {
  readonly id: bigint;
  /** Thread id of the caller in our pid namespace; 0 when it is not visible there. */
  readonly tid: number;
  readonly nr: number;
  readonly auditArch: number;
  readonly instructionPointer: bigint;
  readonly args: readonly [bigint, bigint, bigint, bigint, bigint, bigint];
}

export interface Watch {
  close(): void;
}

/** What `injectFilter` found and did. Anything but `ok` means that no thread has the filter or that the caller must kill. */
export type InjectResult =
  | { readonly ok: true; readonly tid: number; readonly stoppedMicroseconds: number }
  | {
      readonly ok: false;
      readonly step: string;
      readonly errno: number;
      readonly tid: number;
      /** false: nothing in the target changed. true: the state is not known, and the target must be killed. */
      readonly dirty: boolean;
    };

export interface Native {
  // sockets and messages
  socketPair(options: { type: 'seqpacket' | 'stream' }): [number, number];
  /** One sendmsg, MSG_NOSIGNAL | MSG_DONTWAIT. Returns bytes sent, or -1 when the socket is full. */
  sendMessage(options: { fd: number; data: Uint8Array; fds: readonly number[] }): number;
  /** One recvmsg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT. Truncation, foreign control messages or more than maxFds fds: all fds closed, throws EPROTO. */
  receiveMessage(options: { fd: number; maxBytes: number; maxFds: number }): Received;
  closeFd(options: { fd: number }): void;
  /**
   * Adopts nothing: calls back on the event loop when the fd is readable/writable/hung up, until closed. Sets O_NONBLOCK (libuv does).
   * An fd with a pending error is reported once, as everything asked for and `hangup`; close the watch then. One watch an fd: EEXIST.
   */
  watchFd(
    options: { fd: number; readable: boolean; writable: boolean },
    callback: (events: { readable: boolean; writable: boolean; hangup: boolean }) => void,
  ): Watch;
  /** socket(2) with SOCK_CLOEXEC | SOCK_NONBLOCK. */
  createSocket(options: { domain: number; type: number; protocol: number }): number;
  /** connect(2) on raw sockaddr bytes. Returns 'connected' or 'inprogress' (EINPROGRESS); EAGAIN and others throw. */
  connectSocket(options: { fd: number; address: Uint8Array }): 'connected' | 'inprogress';
  bindSocket(options: { fd: number; address: Uint8Array }): void;
  listenSocket(options: { fd: number; backlog: number }): void;
  getSocketOption(options: { fd: number; level: number; name: number }): number;
  setSocketOption(options: { fd: number; level: number; name: number; value: number }): void;
  /** Raw sockaddr bytes. */
  getSocketName(options: { fd: number }): Buffer;
  getStatusFlags(options: { fd: number }): number;
  setStatusFlags(options: { fd: number; flags: number }): void;

  // files and devices
  /** openat2(2) (O_CLOEXEC added); `resolve` are RESOLVE_* bits; `directoryFd` -100 is AT_FDCWD. */
  openFile(options: { directoryFd: number; path: string; flags: number; mode: number; resolve: number }): number;
  memfd(options: { name: string; data: Uint8Array; seal: boolean }): number;
  /** Opens /dev/net/tun and TUNSETIFF; returns the fd and the kernel's name for the interface. */
  createTap(options: { name: string; flags: number }): { fd: number; name: string };
  /** SIOCSIFFLAGS: brings an interface up or down. */
  setInterfaceUp(options: { name: string; up: boolean }): void;

  // processes
  openPidfd(options: { pid: number; thread: boolean }): number;
  /** pidfd_getfd(2), close-on-exec. */
  getFdOfProcess(options: { pidfd: number; fd: number }): number;
  sendSignal(options: { pidfd: number; signal: number }): void;
  /** process_vm_readv(2), exactly `length` bytes or a throw. */
  readMemory(options: { tid: number; address: bigint; length: number }): Buffer;
  setParentDeathSignal(options: { signal: number }): void;

  // seccomp listener
  /** SECCOMP_IOCTL_NOTIF_RECV; undefined when the waiting call is gone (ENOENT). */
  receiveNotification(options: { listenerFd: number }): Notification | undefined;
  /** Answers with a value, a positive errno, or CONTINUE. false when the caller is gone (ENOENT). */
  answerNotification(options: {
    listenerFd: number;
    id: bigint;
    answer: { kind: 'value'; value: bigint } | { kind: 'errno'; errno: number } | { kind: 'continue' };
  }): boolean;
  notificationValid(options: { listenerFd: number; id: bigint }): boolean;
  /** ADDFD with SEND: the call returns the new fd number. false when the caller is gone. After a throw (EMFILE: no number free there) the caller still waits for an answer. */
  answerWithFd(options: { listenerFd: number; id: bigint; fd: number; closeOnExec: boolean }): boolean;
  /** Sets SYNC_WAKE_UP where the kernel has it; returns whether it does. */
  setSyncWakeUp(options: { listenerFd: number }): boolean;

  // tightening
  /** Stops one thread of the process (a pidfd pins it), makes it call seccomp(SET_MODE_FILTER, TSYNC, program), verifies the return at the syscall exit, restores everything. */
  injectFilter(options: { pid: number; pidfd: number; program: Uint8Array; deadlineMs: number }): InjectResult;
  /**
   * Makes every thread pass through user mode once (PTRACE_INTERRUPT, wait, detach, one thread at a time), so that no syscall judged by an older
   * filter is still running. Threads that wait for the supervisor are skipped and returned.
   */
  quiesceThreads(options: { pid: number; pidfd: number; deadlineMs: number }): {
    readonly waitingForBroker: readonly number[];
  };
  /** PTRACE_SECCOMP_GET_FILTER for each installed filter, oldest first; needs CAP_SYS_ADMIN and no filter on ourselves. */
  readFilters(options: { tid: number; deadlineMs: number }): Buffer[];
}

const require = createRequire(import.meta.url);

/** Loads `build/Release/ratchet.node`. Throws when it was not built or does not fit this Node. */
export const native: Native = require(packagePath('build/Release/ratchet.node')) as Native;
