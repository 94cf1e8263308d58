// SPDX-License-Identifier: Apache-2.0

import { dial } from '../dial.ts';
import { disconnect } from '../disconnect.ts';
import { wishArguments } from '../judge.ts';
import { alongLinks } from '../links.ts';
import { errno } from '../linux.ts';
import { isNonBlocking } from '../non-blocking.ts';
import { goOn, rememberCall } from './flow.ts';
import { type Call, finishCall, judgeCall, refuseCall } from './judged-call.ts';
import { readSocketCall } from './socket-call.ts';

/** As long as connect(2) on a blocking unix socket may wait for room in the listener's queue, which the kernel would do for ever. */
const backlogWaitMs = 10_000;

/** The VMM's own connect(2), performed on its own socket with the copied address. Never waits here: a black hole delays only its own caller. */
export function connectCall(call: Call): void {
  const { broker, caller } = call;
  const begun = caller.takeBegun();
  const read = begun === undefined ? readSocketCall(call) : goOn(call, begun);
  if (read === undefined) return;
  const { socket, family, address } = read;
  const wish = { request: 'connect', address } as const;
  const judged = judgeCall(call, wish, socket);
  if (judged === undefined) return;
  const permit = alongLinks(broker.authority, wish, judged);
  if (broker.pending.full) {
    socket.close();
    finishCall(call, wish, permit.rule, errno.EAGAIN);
    return;
  }
  let settled = false;
  let forget: () => void = () => undefined;
  const end = (): boolean => {
    if (settled) return false;
    settled = true;
    forget();
    return true;
  };
  const done = (result: number): void => {
    if (!permit.holds()) takeBack();
    else if (end()) {
      socket.close();
      finishCall(call, wish, permit.rule, result);
      if ((result === 0 || result === errno.EINPROGRESS) && permit.lasts()) rememberCall(call, read, permit.rule);
    }
  };
  let cancel: () => void = () => undefined;
  const takeBack = (): void => {
    if (!end()) return;
    cancel();
    disconnect(socket);
    socket.close();
    const judgement = broker.authority.judge(wish);
    refuseCall(call, {
      errno: judgement.granted ? errno.EACCES : judgement.errno,
      rule: judgement.granted ? undefined : judgement.rule,
      fix: judgement.granted ? null : judgement.fix,
      args: { ...wishArguments(wish), note: 'taken back: what permitted it has ended' },
    });
  };
  const dialing = dial({
    fd: socket,
    address,
    family,
    blocking: !isNonBlocking(socket.fd),
    begun: begun?.errno,
    // The kernel gives up by itself (net.ipv4.tcp_syn_retries).
    timeoutMs: Number.POSITIVE_INFINITY,
    backlogWaitMs,
    permitted: permit.holds,
    follow: permit.follow,
    done,
  });
  if (settled) return;
  ({ cancel } = dialing);
  caller.defer();
  const abandon = (): void => {
    if (!end()) return;
    cancel();
    socket.close();
  };
  forget = broker.pending.add({
    wanted: () => caller.waiting,
    recheck: () => {
      if (!permit.holds()) takeBack();
    },
    abandon,
  });
}
