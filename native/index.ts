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

/** A door of the broker, where flows answer what was decided before (native/sys/flow.h). Opaque. */
export type Door = { readonly door: unique symbol };

/** A connection that a flow began, and that goes on elsewhere: `errno` is what connect(2) said, 0 when it was made. The fd is the receiver's. */
export interface Begun {
  readonly flow: number;
  readonly errno: number;
  readonly fd: number;
}

/** Bytes for connect(2). `pinFd` passes to the flow: what `path` names, without any link, when they lead to it; -1 and '' when they do not. */
export interface FlowTarget {
  readonly address: Uint8Array;
  readonly pinFd: number;
  readonly path: string;
}

/** What a flow did. Of a request tid is 0 and thread is empty. */
export interface FlowRecord {
  readonly flow: number;
  readonly tid: number;
  readonly thread: string;
  readonly errno: number;
  readonly microseconds: number;
}

export interface Watch {
  close(): void;
}

export interface NotInjected {
  readonly ok: false;
  readonly step: string;
  readonly errno: number;
  readonly tid: number;
  /** false: nothing in the target changed. true: the state is not known, and the target must be killed. */
  readonly dirty: boolean;
}

/** What `injectFilter` did. `stoppedMicroseconds`: how long the one thread that carried the call stood still. */
export type InjectResult =
  | { readonly ok: true; readonly tid: number; readonly stoppedMicroseconds: number }
  | NotInjected;

/** What `injectByThread` did. `tids` have made the calls, and have more filters now; `stoppedMicroseconds`: the longest that one thread stood still. */
export type InjectByThreadResult =
  | { readonly ok: true; readonly tids: readonly number[]; readonly stoppedMicroseconds: number }
  | NotInjected;

export interface InspectedThread {
  readonly tid: number;
  readonly name: string;
  /** Seccomp mode: 0 none, 1 strict, 2 filter. */
  readonly mode: number;
  readonly filters: number;
  readonly noNewPrivs: boolean;
  /** All that it holds, in whichever of the inheritable, permitted, effective and ambient set; a bit each. */
  readonly capabilities: bigint;
  /**
   * stopped: it has passed through user mode's door since the inspection began. waiting: for the seccomp supervisor, and was not disturbed. kernel: a
   * worker of the kernel's. refused: we may not trace it.
   */
  readonly visit: 'stopped' | 'waiting' | 'kernel' | 'refused';
  /** Places in `Inspection.programs`, oldest first; absent where they could not be read. */
  readonly programs?: readonly number[];
}

export interface Inspection {
  readonly threads: readonly InspectedThread[];
  /** Each installed program once. */
  readonly programs: readonly Buffer[];
  /** The errno for which no programs were read; 0 when they were. EACCES: no CAP_SYS_ADMIN, or a filter on ourselves. */
  readonly unreadable: number;
  /** The longest that one thread stood still. */
  readonly longestStopMicroseconds: number;
}

/** What a process holds. */
export interface Holdings {
  readonly descriptors: readonly HeldDescriptor[];
  /** Seccomp filters, inherited ones included, and child processes. */
  readonly threads: readonly {
    readonly tid: number;
    readonly name: string;
    readonly filters: number;
    readonly children: readonly number[];
  }[];
  /** An io_uring ring is mapped: it goes on without its descriptor. */
  readonly mapsRing: boolean;
}

/** `what`: as /proc shows it. `domain` and `type`: of a socket in the leader's table (SO_DOMAIN, SO_TYPE). */
export interface HeldDescriptor {
  /** Whose table it is in: the leader's, or that of a thread which has left it. */
  readonly tid: number;
  readonly fd: number;
  readonly what: string;
  readonly domain?: number;
  readonly type?: number;
}

/** Rights are LANDLOCK_ACCESS_FS_* bits, scopes LANDLOCK_SCOPE_*; nothing handled is no domain. A path that is not there throws ENOENT. */
export interface LandlockRules {
  readonly handled: bigint;
  readonly scoped: bigint;
  readonly rights: readonly { readonly path: string; readonly access: bigint }[];
}

export interface Native {
  // sockets and messages
  socketPair(options: { type: 'seqpacket' | 'stream' | 'datagram' }): [number, number];
  /** One sendmsg, MSG_NOSIGNAL | MSG_DONTWAIT. Returns bytes sent, or -1 when the socket is full. */
  sendMessage(options: { fd: number; data: Uint8Array; fds: readonly number[] }): number;
  /** One recvmsg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT. Truncation, foreign control messages or more than maxFds fds: all fds closed, throws EPROTO. */
  receiveMessage(options: { fd: number; maxBytes: number; maxFds: number }): Received;
  closeFd(options: { fd: number }): void;
  /** A second number for the same open file, close-on-exec. */
  duplicateFd(options: { fd: number }): number;
  /**
   * Adopts nothing: calls back on the event loop when the fd is readable/writable/hung up, until closed. Sets O_NONBLOCK (libuv does).
   * An fd with a pending error is reported once, as everything asked for and `hangup`; close the watch then. One watch an fd: EEXIST.
   * `door` serves before, and when nothing is left nobody is called.
   */
  watchFd(
    options: { fd: number; readable: boolean; writable: boolean },
    callback: (events: { readable: boolean; writable: boolean; hangup: boolean }) => void,
    door?: Door,
  ): Watch;
  /** socket(2) with SOCK_CLOEXEC | SOCK_NONBLOCK. */
  createSocket(options: { domain: number; type: number; protocol: number }): number;
  /** connect(2) on raw sockaddr bytes. Returns 'connected' or 'inprogress' (EINPROGRESS); EAGAIN and others throw. */
  connectSocket(options: { fd: number; address: Uint8Array }): 'connected' | 'inprogress';
  /** sendmsg(2), MSG_DONTWAIT | MSG_NOSIGNAL added to `flags`; to the socket's own peer when `address` is empty. Bytes sent; EAGAIN throws. */
  sendTo(options: { fd: number; data: Uint8Array; address: Uint8Array; flags: number }): number;
  bindSocket(options: { fd: number; address: Uint8Array }): void;
  listenSocket(options: { fd: number; backlog: number }): void;
  /** accept4(2), close-on-exec and non-blocking; undefined when nobody waits. */
  acceptConnection(options: { fd: number }): number | undefined;
  /** Who connected: SO_PEERCRED and SO_PEERPIDFD (Linux 6.5; ENOPROTOOPT before). */
  getPeer(options: { fd: number }): { pid: number; uid: number; pidfd: number };
  /** The user who connected (SO_PEERCRED), also of a process that has ended since. */
  getPeerUser(options: { fd: number }): number;
  getSocketOption(options: { fd: number; level: number; name: number }): number;
  setSocketOption(options: { fd: number; level: number; name: number; value: number }): void;
  /** Raw sockaddr bytes. */
  getSocketName(options: { fd: number }): Buffer;
  getStatusFlags(options: { fd: number }): number;
  setStatusFlags(options: { fd: number; flags: number }): void;

  // files and devices
  /** openat2(2) (O_CLOEXEC added); `resolve` are RESOLVE_* bits; `directoryFd` -100 is AT_FDCWD. */
  openFile(options: { directoryFd: number; path: string; flags: number; mode: number; resolve: number }): number;
  unlinkFile(options: { path: string }): void;
  /** The file's first bytes as shared memory, for as long as the process lives. */
  mapShared(options: { fd: number; bytes: number }): ArrayBuffer;
  memfd(options: { name: string; data: Uint8Array; seal: boolean }): number;
  /** A memory file of zeros. `seals`: F_SEAL_* bits; 0 leaves sealing to its holder. */
  sizedMemfd(options: { name: string; bytes: number; seals: number }): number;
  /** Unlocks the terminal that /dev/ptmx gave and opens its other side (TIOCGPTPEER); `number` is that of /dev/pts/N. */
  openTerminalPeer(options: { fd: number }): { peer: number; number: number };
  /** fstat(2): the mode, and the numbers of a device file. */
  fileKind(options: { fd: number }): { mode: number; major: number; minor: number };
  setInterfaceMtu(options: { name: string; mtu: number }): void;
  /** SIOCBRADDIF: the interface becomes a port of the bridge. */
  addToBridge(options: { name: string; bridge: string }): void;
  /** TUNSETOWNER. */
  setTapOwner(options: { fd: number; uid: number }): void;
  /** Opens /dev/net/tun and TUNSETIFF; returns the fd and the kernel's name for the interface. */
  createTap(options: { name: string; flags: number }): { fd: number; name: string };
  /** SIOCSIFFLAGS: brings an interface up or down. */
  setInterfaceUp(options: { name: string; up: boolean }): void;

  // processes
  openPidfd(options: { pid: number; thread: boolean }): number;
  /** pidfd_getfd(2), close-on-exec. */
  getFdOfProcess(options: { pidfd: number; fd: number }): number;
  sendSignal(options: { pidfd: number; signal: number }): void;
  /** waitid(2) without waiting: undefined while the child lives. Reaps it, so ask for none of Node's own children. */
  reapChild(options: { pidfd: number }): { code: number | null; signal: number | null } | undefined;
  /** prlimit(2) for a child that nobody has reaped: soft and hard limit. `resource`: an RLIMIT_ number. */
  limitChild(options: { pid: number; pidfd: number; resource: number; value: number }): void;
  /** process_vm_readv(2), exactly `length` bytes or a throw. */
  readMemory(options: { tid: number; address: bigint; length: number }): Buffer;
  /** One look at what a process holds; `descriptors`: at those and its mappings too. What ends meanwhile is left out. ESRCH once it has ended. */
  lookAtHoldings(options: { pid: number; pidfd: number; descriptors: boolean }): Holdings;
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
  /** Answers what was received and waits still, by ids from `first` to `last` and a few more: for who takes over from a receiver that died. How many. */
  answerLost(options: { listenerFd: number; first: bigint; last: bigint; errno: number }): number;
  notificationValid(options: { listenerFd: number; id: bigint }): boolean;
  /** ADDFD with SEND: the call returns the new fd number. false when the caller is gone. After a throw (EMFILE: no number free there) the caller still waits for an answer. */
  answerWithFd(options: { listenerFd: number; id: bigint; fd: number; closeOnExec: boolean }): boolean;
  /** Sets SYNC_WAKE_UP where the kernel has it; returns whether it does. */
  setSyncWakeUp(options: { listenerFd: number }): boolean;

  // doors and flows
  /**
   * `served` counts decisions of flows; before `tellFrom` (nanoseconds of CLOCK_MONOTONIC) they are only counted. Calls back `delayMs` after the first record that
   * was not taken; at `room` records flows pass on what they would answer.
   */
  openFlowTrail(
    options: { served: BigUint64Array; tellFrom: BigUint64Array; room: number; delayMs: number },
    callback: () => void,
  ): unknown;
  takeFlowRecords(options: { trail: unknown }): FlowRecord[];
  /** `lastId`: of the requests that were accepted, the greatest number. While `shut` is not 0 no flow answers. The fd stays the caller's, and open. */
  openRequestDoor(options: {
    fd: number;
    maxBytes: number;
    lastId: BigUint64Array;
    shut: BigUint64Array;
    trail: unknown;
  }): Door;
  /** As receiveMessage with one fd at most, for the next request that no flow answers. `again` also when as many were received as may be before the watch calls back anew. */
  receiveRequest(options: { door: Door }): Received & { readonly begun?: Begun };
  /** Makes a socket, connects it and sends it with `reply`, whenever `request` comes with any number in its 8 bytes at `idAt`. False when a number is not within, or when there is such a flow. */
  addRequestFlow(
    options: FlowTarget & {
      door: Door;
      flow: number;
      request: Uint8Array;
      idAt: number;
      domain: number;
      type: number;
      reply: Uint8Array;
      replyIdAt: number;
    },
  ): boolean;
  /** `nr` and `auditArch`: of connect(2). `received`: three words for the ids of what was received, big-endian: whether any, the first, the last. */
  openCallDoor(options: {
    listenerFd: number;
    nr: number;
    auditArch: number;
    received: BigUint64Array;
    trail: unknown;
  }): Door;
  /** As receiveNotification, for the next call that no flow answers. Undefined also when as many were received as may be before the watch calls back anew. */
  receiveCall(options: { door: Door }): (Notification & { readonly begun?: Begun }) | undefined;
  /** Connects the caller's own socket, whenever one of this kind is asked to connect to exactly the bytes `asked`. False when there is such a flow. */
  addCallFlow(
    options: FlowTarget & {
      door: Door;
      flow: number;
      domain: number;
      type: number;
      protocol: number;
      asked: Uint8Array;
    },
  ): boolean;
  /** Those that were used since this was last asked, or are new. Others may be gone already: their path led elsewhere. */
  takeUsedFlows(options: { door: Door }): number[];
  forgetFlow(options: { door: Door; flow: number }): void;

  // this process itself; none of it can be undone
  /** The kernel's Landlock ABI, 0 without it. */
  landlockAbi(): number;
  /** no_new_privs and a Landlock domain in every thread: of the `handled` rights only those given, beneath their paths. */
  restrictThreads(options: LandlockRules): void;
  /**
   * Starts the one thread that from then on does openFile, unlinkFile, bindSocket and createTap for all others, in a Landlock domain of its own, and gives
   * its tid. The others are in no domain, because that would cost them ptrace access: their filter must keep them from opening anything.
   */
  startFileThread(options: LandlockRules): number;
  /** Keeps at most these capabilities (bit n: capability n) in every thread. */
  keepCapabilities(options: { capabilities: bigint }): void;
  /** One filter in all threads at once (TSYNC). A thread that has a filter of its own already: ESRCH, and none has it. */
  filterThreads(options: { program: Uint8Array }): void;
  /** Filters in every thread by itself, in their order, but in `except` (0: in all). */
  filterEachThread(options: { programs: readonly Uint8Array[]; except: number }): void;
  filterFileThread(options: { programs: readonly Uint8Array[] }): void;
  /** PR_SET_DUMPABLE 0. */
  forbidDumps(): void;
  /** setrlimit(2), soft and hard; a limit that is lower already stays. */
  setOwnLimit(options: { resource: number; value: number }): void;

  // tightening
  /** Stops one thread of the process (a pidfd pins it), makes it call seccomp(SET_MODE_FILTER, TSYNC, program), restores everything. */
  injectFilter(options: { pid: number; pidfd: number; program: Uint8Array; deadlineMs: number }): InjectResult;
  /**
   * Stops one thread after the other and makes each call seccomp(SET_MODE_FILTER, 0, program) for itself, once a program. `threads` and `others` (all that `threads`
   * does not name, none left out, when it is not empty) name programs by their place in `programs`. So does `together`, which every thread gets before, as by
   * `injectFilter`; -1 for none. `ruleset`: the descriptor, in the process, of a Landlock ruleset by which each thread restricts itself before its programs, with `others`
   * only; -1 for none.
   */
  injectByThread(options: {
    pid: number;
    pidfd: number;
    programs: readonly Uint8Array[];
    threads: readonly { readonly tid: number; readonly programs: readonly number[] }[];
    others: readonly number[];
    together: number;
    ruleset: number;
    deadlineMs: number;
  }): InjectByThreadResult;
  /**
   * Stops every thread once, two at one time at most (PTRACE_INTERRUPT, wait, detach), so that no syscall judged by an older filter is still running, and
   * reads its filters meanwhile (PTRACE_SECCOMP_GET_FILTER). Those that wait for the supervisor are waited for `patienceMs`, and then left alone.
   */
  inspectThreads(options: { pid: number; pidfd: number; patienceMs: number; deadlineMs: number }): Inspection;
}

const require = createRequire(import.meta.url);

/** Loads `build/Release/ratchet.node`. Throws when it was not built or does not fit this Node. */
export const native: Native = require(packagePath('build/Release/ratchet.node')) as Native;
