// SPDX-License-Identifier: Apache-2.0
// Clients beside the launcher: each with a channel, request numbers and a bound of its own, and with the judged requests alone. One that breaks the protocol loses
// its own channel. One that came by itself is bound to its process: the channel ends with that process, whoever inherited the socket.
import { OwnedFd } from '../core/owned-fd.ts';
import { native, type Watch } from '../native/index.ts';
import { Channel } from './channel.ts';
import { setNonBlocking } from './non-blocking.ts';
import type { Asker } from './reporter.ts';
import { Conversation, type Session } from './serve.ts';

export const maxAgents = 16;

const maxAcceptsPerTurn = 8;
const retryMs = 200;

interface Who {
  readonly asker: Asker;
  /** Of the process that it ends with. */
  readonly pidfd?: OwnedFd;
}

export class Agents {
  readonly #session: () => Session;
  #count = 0;

  constructor(session: () => Session) {
    this.#session = session;
  }

  /** Takes the fd, and the pidfd. False, and nothing taken, when there are too many. */
  add(channelFd: OwnedFd, { asker, pidfd }: Who): boolean {
    if (this.#count >= maxAgents) return false;
    this.#count += 1;
    const session = this.#session();
    let ended = false;
    let watch: Watch | undefined;
    const end = (error: unknown): void => {
      if (ended) return;
      ended = true;
      this.#count -= 1;
      watch?.close();
      pidfd?.close();
      channelFd.close();
      if (error !== undefined)
        session.broker.reporter.broker(`the channel of agent ${asker.thread} was cut off`, { error });
    };
    const channel = new Channel(channelFd.fd, session.broker.flows, {
      onPacket: (data, fds, begun) => {
        try {
          conversation.accept(data, fds, begun);
        } finally {
          for (const fd of fds) fd.close();
        }
      },
      onEnd: end,
    });
    const conversation = new Conversation({ ...session, broker: { ...session.broker, asker } }, channel);
    if (pidfd !== undefined)
      watch = native.watchFd({ fd: pidfd.fd, readable: true, writable: false }, () => channel.close());
    conversation.greet();
    return true;
  }

  /** Takes the listening socket. */
  accept(listening: OwnedFd, name: string, users: readonly number[]): void {
    setNonBlocking(listening.fd, true);
    const watch = native.watchFd({ fd: listening.fd, readable: true, writable: false }, () => {
      for (let accepted = 0; accepted < maxAcceptsPerTurn; accepted += 1) {
        const outcome = this.#acceptOne(listening, name, users);
        if (outcome === 'accepted') continue;
        if (outcome === 'failed') {
          // Out of descriptors, mostly: who waits goes on waiting, and the loop must not spin.
          watch.close();
          setTimeout(() => this.accept(listening, name, users), retryMs);
        }
        return;
      }
    });
  }

  #acceptOne(listening: OwnedFd, name: string, users: readonly number[]): 'accepted' | 'nobody' | 'failed' {
    const { reporter } = this.#session().broker;
    let fd: number | undefined;
    try {
      fd = native.acceptConnection({ fd: listening.fd });
    } catch (error) {
      reporter.broker(`an agent ${name} could not be accepted`, { error });
      return 'failed';
    }
    if (fd === undefined) return 'nobody';
    const channel = new OwnedFd(fd);
    try {
      const { pid, uid, pidfd } = native.getPeer({ fd });
      const process = new OwnedFd(pidfd);
      const asker: Asker = { door: 'agent', tid: pid, thread: name };
      if (users.includes(uid) && this.add(channel, { asker, pidfd: process })) return 'accepted';
      process.close();
      reporter.broker(`a process (${pid}, user ${uid}) was not taken as agent ${name}`);
    } catch (error) {
      reporter.broker(`an agent ${name} could not be told`, { error });
    }
    channel.close();
    return 'accepted';
  }
}
