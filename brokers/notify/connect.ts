// SPDX-License-Identifier: Apache-2.0

import { dial } from '../dial.ts';
import { disconnect } from '../disconnect.ts';
import { judge, type Wish, wishArguments } from '../judge.ts';
import { errno } from '../linux.ts';
import { isNonBlocking } from '../non-blocking.ts';
import { type Call, finishCall, judgeCall, refuseCall } from './judged-call.ts';
import { readSocketCall } from './socket-call.ts';

/** As long as connect(2) on a blocking unix socket may wait for room in the listener's queue, which the kernel would do for ever. */
const backlogWaitMs = 10_000;

/** The VMM's own connect(2), performed on its own socket with the copied address. Never waits here: a black hole delays only its own caller. */
export function connectCall(call: Call): void {
  const { broker, caller } = call;
  const read = readSocketCall(call);
  if (read === undefined) return;
  const { socket, family, address } = read;
  const wish: Wish = { request: 'connect', address };
  const rule = judgeCall(call, wish, socket);
  if (rule === undefined) return;
  if (broker.pending.full) {
    socket.close();
    finishCall(call, wish, rule, errno.EAGAIN);
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
    if (!end()) return;
    socket.close();
    finishCall(call, wish, rule, result);
  };
  const dialing = dial({
    fd: socket,
    address,
    family,
    blocking: !isNonBlocking(socket.fd),
    // The kernel gives up by itself (net.ipv4.tcp_syn_retries).
    timeoutMs: Number.POSITIVE_INFINITY,
    backlogWaitMs,
    done,
  });
  if (settled) return;
  caller.defer();
  const abandon = (): void => {
    if (!end()) return;
    dialing.cancel();
    socket.close();
  };
  forget = broker.pending.add({
    wanted: () => caller.waiting,
    recheck: () => {
      const judgement = judge(broker.stages.current.rules, wish);
      if (judgement.granted || !end()) return;
      dialing.cancel();
      disconnect(socket);
      socket.close();
      refuseCall(call, {
        errno: judgement.errno,
        rule: judgement.rule,
        fix: judgement.fix,
        args: { ...wishArguments(wish), note: 'taken back: the new stage does not grant it' },
      });
    },
    abandon,
  });
}
