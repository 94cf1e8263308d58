// SPDX-License-Identifier: Apache-2.0
// The transparent door: system calls of the VMM, as its start filter notifies them. Each is judged by the *policy* of the stage that holds now:
//   allow   the kernel goes on with the call. The verdict rests on the call's registers alone, which cannot change, so CONTINUE is legal here (its only
//           other use is the stager's exec, see execveat.ts); nothing is awaited between the verdict and the answer, so the stage cannot have changed;
//   errno   that errno, with a report unless the rule is quiet. In a stage that is in soak: CONTINUE, with a report, as for allow;
//   broker  its handler below, by the stage's broker rules. A call without a handler is refused.
// Whatever goes wrong, the call is answered with an errno. exit, exit_group, rt_sigreturn, futex and munmap are never notified.
import type { OwnedFd } from '../../core/owned-fd.ts';
import { describeCall } from '../../core/policy/describe-call.ts';
import { evaluate } from '../../core/policy/evaluate.ts';
import { judgeThread, type ThreadVerdict } from '../../core/policy/thread-verdict.ts';
import type { Action } from '../../core/policy/types.ts';
import { auditArchOf, syscallName, syscallNumber } from '../../core/tables/index.ts';
import { type Door, native, type Watch } from '../../native/index.ts';
import type { Broker } from '../broker.ts';
import { errno, sigkill } from '../linux.ts';
import { attempt } from '../native-errno.ts';
import { accessCall, faccessat2Call, faccessatCall } from './access.ts';
import { int32, readerOf } from './arguments.ts';
import { bindCall } from './bind.ts';
import { Caller, CallerGone, CallFails } from './caller.ts';
import { connectCall } from './connect.ts';
import { execveatCall } from './execveat.ts';
import type { Call } from './judged-call.ts';
import { listenCall } from './listen.ts';
import { creatCall, openat2Call, openatCall, openCall } from './open.ts';
import { permitInSoak, refuseByPolicy, reportInSoak } from './policy-refusal.ts';
import { sendmsgCall, sendtoCall } from './send.ts';
import { unlinkatCall, unlinkCall } from './unlink.ts';

/** The system calls that the broker performs, all of them. */
const handlers: Readonly<Record<string, (call: Call) => void>> = {
  connect: (call) => connectCall(showingFd(call)),
  bind: (call) => bindCall(showingFd(call)),
  listen: (call) => listenCall(showingFd(call)),
  open: (call) => openCall(showingNothing(call)),
  openat: (call) => openatCall(showingNothing(call)),
  openat2: (call) => openat2Call(showingNothing(call)),
  creat: (call) => creatCall(showingNothing(call)),
  access: (call) => accessCall(showingNothing(call)),
  faccessat: (call) => faccessatCall(showingNothing(call)),
  faccessat2: (call) => faccessat2Call(showingNothing(call)),
  unlink: (call) => unlinkCall(showingNothing(call)),
  unlinkat: (call) => unlinkatCall(showingNothing(call)),
  sendto: (call) => sendtoCall(showingFd(call)),
  sendmsg: (call) => sendmsgCall(showingFd(call)),
  execveat: execveatCall,
};

// Reports show the address or path that a handler reads, in place of the VMM's pointers.

function showingFd(call: Call): Call {
  return { ...call, args: () => ({ fd: int32(call.caller.notification.args[0]) }) };
}

function showingNothing(call: Call): Call {
  return { ...call, args: () => ({}) };
}

/** In a row; then the listener is closed and the kernel answers ENOSYS in our place. */
const maxReceiveFailures = 16;

export class NotifyLoop {
  readonly #broker: Broker;
  readonly #listener: OwnedFd;
  readonly #door: Door;
  readonly #watch: Watch;
  #failures = 0;
  #ended = false;

  /** Owns the listener. */
  constructor(broker: Broker, listener: OwnedFd) {
    this.#broker = broker;
    this.#listener = listener;
    this.#answerLost();
    native.setSyncWakeUp({ listenerFd: listener.fd });
    const { stages, journal, flows } = broker;
    const { arch } = stages.profile;
    this.#door = native.openCallDoor({
      listenerFd: listener.fd,
      nr: syscallNumber(arch, 'connect') ?? -1,
      auditArch: auditArchOf(arch),
      received: journal.receivedWords,
      trail: flows.trail,
    });
    flows.enter(this.#door);
    const onEvents = ({ readable, hangup }: { readonly readable: boolean; readonly hangup: boolean }) => {
      if (readable) this.#serveWaiting();
      if (hangup) this.#end('the VMM has ended: no process uses its filter any more');
    };
    this.#watch = native.watchFd({ fd: listener.fd, readable: true, writable: false }, onEvents, this.#door);
  }

  /** Calls that a broker before had received and did not answer: nobody can receive them again, and whether they were performed is not known. */
  #answerLost(): void {
    const { received } = this.#broker.journal;
    if (received === undefined) return;
    const lost = native.answerLost({ listenerFd: this.#listener.fd, ...received, errno: errno.EIO });
    this.#broker.reporter.broker('took over', {
      count: lost,
      next: 'calls that the broker before had not answered got EIO',
    });
  }

  get ended(): boolean {
    return this.#ended;
  }

  /** Until none waits, or the door's turn is over. */
  #serveWaiting(): void {
    while (!this.#ended) {
      try {
        const notification = native.receiveCall({ door: this.#door });
        if (notification === undefined) return;
        this.#failures = 0;
        serveCall(this.#broker, new Caller(this.#listener.fd, notification), this.#door);
      } catch (error) {
        this.#failures += 1;
        this.#broker.reporter.broker('the seccomp listener failed', { error });
        if (this.#failures >= maxReceiveFailures)
          this.#end('the seccomp listener is unusable: calls of the VMM now fail with ENOSYS');
      }
    }
  }

  #end(what: string): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#watch.close();
    this.#broker.flows.leave(this.#door);
    this.#broker.pending.abandonAll();
    this.#listener.close();
    this.#broker.reporter.broker(what);
  }
}

function serveCall(broker: Broker, caller: Caller, door: Door): void {
  try {
    decide(broker, caller, door);
  } catch (error) {
    if (error instanceof CallFails) caller.answerErrno(error.errno);
    else if (!(error instanceof CallerGone))
      broker.reporter.broker('a handler failed; the call was refused', { error });
  } finally {
    caller.takeBegun()?.socket.close();
    if (!caller.settled) attempt(() => caller.answerErrno(errno.EACCES));
  }
}

function decide(broker: Broker, caller: Caller, door: Door): void {
  const { nr, auditArch, args, instructionPointer, tid } = caller.notification;
  const { stage } = broker.stages.current;
  const { arch } = broker.stages.profile;
  const made = { nr, auditArch, args, instructionPointer };
  const verdict = judgeThread(stage, made, () => broker.threads.rolesOf(tid));
  const syscall = verdict.syscall?.name ?? syscallName(arch, nr) ?? `syscall ${nr}`;
  const call: Call = { broker, caller, door, syscall, args: () => describeCall(arch, syscall, args, readerOf(caller)) };
  if (stage.soak === true && verdict.role !== undefined && isToldRefusal(verdict.action)) {
    reportInSoak(call, { verdict, errno: verdict.action.errno });
    // What its role would have refused is as its stage has it: that may leave it to a handler, which judges by memory.
    act(call, evaluate(stage.filter, made));
  } else act(call, verdict);
}

function isToldRefusal(action: Action): action is Extract<Action, { kind: 'errno' }> {
  return action.kind === 'errno' && !action.quiet;
}

function act(call: Call, verdict: ThreadVerdict): void {
  const { broker, caller, syscall } = call;
  const { stage } = broker.stages.current;
  const { action } = verdict;
  switch (action.kind) {
    case 'allow':
    case 'log':
      caller.answerContinue();
      return;
    case 'errno':
      if (action.quiet) answerQuietly(caller, action.errno);
      else if (stage.soak === true) permitInSoak(call, { verdict, errno: action.errno });
      else refuseByPolicy(call, { verdict, errno: action.errno });
      return;
    case 'broker': {
      const handler = Object.hasOwn(handlers, syscall) ? handlers[syscall] : undefined;
      // tid 0: a caller in a foreign pid namespace, which cannot be pinned.
      if (handler === undefined || caller.notification.tid === 0)
        refuseByPolicy(call, { verdict, errno: errno.EACCES });
      else handler(call);
      return;
    }
    case 'kill-process':
    case 'kill-thread':
      // A later stage's filter leaves notified calls to us. Killing more than the thread is the stricter reading.
      caller.kill(sigkill);
      refuseByPolicy(call, { verdict, errno: errno.EACCES });
      return;
    case 'trap':
    case 'trace':
      refuseByPolicy(call, { verdict, errno: errno.ENOSYS });
      return;
  }
}

function answerQuietly(caller: Caller, number: number): void {
  // An errno of 0 is a call that pretends to have worked.
  if (number === 0) caller.answerValue(0n);
  else caller.answerErrno(number);
}
