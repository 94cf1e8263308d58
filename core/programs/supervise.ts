// SPDX-License-Identifier: Apache-2.0
// The notifications of a named program. It has no broker: its one exec goes on, and whatever its filter has notified is refused, and told.
import { constants } from 'node:os';
import { type Notification, native } from '../../native/index.ts';
import { errnoName } from '../errno-name.ts';
import type { OwnedFd } from '../owned-fd.ts';
import { describeCall, evaluate, explainRefusal } from '../policy/index.ts';
import type { ResolvedProfile, ResolvedStage, SyscallCall, Verdict } from '../policy/types.ts';
import { syscallName } from '../tables/index.ts';

/** What a program was refused, in the form of a refusal event. */
export interface ProgramRefusal {
  readonly stage: string;
  readonly tid: number;
  readonly syscall: string;
  readonly args: Readonly<Record<string, string | number>>;
  readonly errno: string;
  readonly rule: { readonly file: string; readonly line: number; readonly why: string } | null;
  readonly fix: string;
}

export interface Supervision {
  /** The one process that may make the one exec. */
  readonly pid: number;
  readonly listener: OwnedFd;
  readonly profile: ResolvedProfile;
  readonly tell: (refusal: ProgramRefusal) => void;
}

/** Told of one program; what it is refused after that is refused in silence. */
const maxTold = 32;
const maxCallsPerTurn = 32;

/** Takes the listener, and serves until nobody uses the filter any more. @returns how to stop: the kernel answers ENOSYS from then on. */
export function supervise({ pid, listener, profile, tell }: Supervision): () => void {
  const stage = profile.stages[0] as ResolvedStage;
  let execs = 0;
  let told = 0;
  let stopped = false;
  const stop = (): void => {
    if (stopped) return;
    stopped = true;
    watch.close();
    listener.close();
  };
  const answer = (notification: Notification): void => {
    const { id, nr, auditArch, args, tid } = notification;
    const call: SyscallCall = { nr, auditArch, args };
    const verdict = evaluate(stage.filter, call);
    const syscall = verdict.syscall?.name ?? syscallName(profile.arch, nr) ?? `syscall ${nr}`;
    // The first can only be the stager's: nothing of the program has run, so nothing behind a pointer is trusted (brokers/notify/execveat.ts).
    if (verdict.action.kind === 'broker' && syscall === 'execveat' && tid === pid && execs++ === 0) {
      native.answerNotification({ listenerFd: listener.fd, id, answer: { kind: 'continue' } });
      return;
    }
    const errno = errnoOf(verdict);
    const waits = native.answerNotification({ listenerFd: listener.fd, id, answer: { kind: 'errno', errno } });
    const quiet = verdict.action.kind === 'errno' && verdict.action.quiet;
    if (!waits || quiet || told++ >= maxTold) return;
    const { rule } = verdict;
    tell({
      stage: stage.name,
      tid,
      syscall,
      args: describeCall(profile.arch, syscall, args),
      errno: errnoName(errno),
      rule: rule === undefined ? null : { file: rule.source.file, line: rule.source.line, why: rule.why },
      fix: explainRefusal(profile, 0, { call, syscall, verdict }).fix,
    });
  };
  const watch = native.watchFd({ fd: listener.fd, readable: true, writable: false }, ({ readable, hangup }) => {
    try {
      for (let served = 0; readable && served < maxCallsPerTurn && !stopped; served += 1) {
        const notification = native.receiveNotification({ listenerFd: listener.fd });
        if (notification === undefined) break;
        answer(notification);
      }
      if (hangup) stop();
    } catch {
      // A listener that fails is given up: whoever waits gets ENOSYS from the kernel.
      stop();
    }
  });
  return stop;
}

/** Nothing but the one exec is ever let through here, whatever the policy says. An errno of 0 would claim that a call was performed. */
function errnoOf({ action }: Verdict): number {
  return action.kind === 'errno' && action.errno !== 0 ? action.errno : constants.errno.EACCES;
}
