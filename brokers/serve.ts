// SPDX-License-Identifier: Apache-2.0
// The explicit door: the launcher's requests. The table below is everything that can be asked of this process.
import {
  decodeRequest,
  protocolLimits,
  protocolMagic,
  protocolVersion,
  type Request,
  type RequestType,
} from '../core/broker/protocol.ts';
import { RatchetError } from '../core/errors.ts';
import type { OwnedFd } from '../core/owned-fd.ts';
import type { Begun } from '../native/index.ts';
import type { Broker } from './broker.ts';
import type { Channel } from './channel.ts';
import { Frame } from './frame.ts';
import { errno } from './linux.ts';
import { agentRequest, agentsRequest } from './requests/agents.ts';
import { attachListenerRequest } from './requests/attach-listener.ts';
import { bindRequest } from './requests/bind.ts';
import { connectRequest } from './requests/connect.ts';
import { deviceRequest } from './requests/device.ts';
import { execRequest } from './requests/exec.ts';
import { grantRequest, revokeRequest } from './requests/grant.ts';
import { logRequest } from './requests/log.ts';
import { memoryRequest } from './requests/memory.ts';
import { openRequest } from './requests/open.ts';
import { pairRequest } from './requests/pair.ts';
import { endedRequest, startedRequest } from './requests/programs.ts';
import { releaseRequest } from './requests/release.ts';
import { failed, ok, type Reply } from './requests/reply.ts';
import { stageRequest } from './requests/stage.ts';
import { statusRequest } from './requests/status.ts';
import { tapRequest } from './requests/tap.ts';
import { terminalRequest } from './requests/terminal.ts';
import { threadsRequest } from './requests/threads.ts';

/** What a request may touch beyond the broker's tables. */
export interface Session {
  readonly broker: Broker;
  /** Takes the listener; false when there was one before. */
  readonly attachListener: (listener: OwnedFd) => boolean;
  readonly listenerState: () => 'none' | 'attached' | 'ended';
  readonly end: () => void;
  /** Takes the fd; false when there are too many already. */
  readonly addAgent: (channel: OwnedFd, name: string) => boolean;
  readonly acceptAgents: (listening: OwnedFd, name: string, users: readonly number[]) => void;
}

interface Row<T extends RequestType> {
  /** Stages in which it can be asked; in each of them the stage's broker rules decide. */
  readonly stages: 'all';
  /** How many fds the message carries. */
  readonly fds: 0 | 1;
  readonly judged: boolean;
  readonly once: boolean;
  /** Whether clients beside the launcher may ask too. */
  readonly agents?: true;
  readonly handler: (
    session: Session,
    request: Extract<Request, { type: T }>,
    reply: Reply,
    fd: OwnedFd | undefined,
    frame: Frame,
  ) => void;
}

/** The authority review. `judged`: granted by the profile's broker rules of the current stage, or refused. */
export const requestTable: { readonly [T in RequestType]: Row<T> } = {
  connect: {
    stages: 'all',
    fds: 0,
    judged: true,
    once: false,
    agents: true,
    handler: ({ broker }, request, reply, _, frame) => connectRequest(broker, request, reply, frame),
  },
  bind: {
    stages: 'all',
    fds: 0,
    judged: true,
    once: false,
    agents: true,
    handler: ({ broker }, request, reply) => bindRequest(broker, request, reply),
  },
  open: {
    stages: 'all',
    fds: 0,
    judged: true,
    once: false,
    agents: true,
    handler: ({ broker }, request, reply) => openRequest(broker, request, reply),
  },
  tap: {
    stages: 'all',
    fds: 0,
    judged: true,
    once: false,
    agents: true,
    handler: ({ broker }, request, reply) => tapRequest(broker, request, reply),
  },
  device: {
    stages: 'all',
    fds: 0,
    judged: true,
    once: false,
    agents: true,
    handler: ({ broker }, request, reply) => deviceRequest(broker, request, reply),
  },
  memory: {
    stages: 'all',
    fds: 0,
    judged: true,
    once: false,
    agents: true,
    handler: ({ broker }, request, reply) => memoryRequest(broker, request, reply),
  },
  terminal: {
    stages: 'all',
    fds: 0,
    judged: true,
    once: false,
    agents: true,
    handler: ({ broker }, _, reply) => terminalRequest(broker, reply),
  },
  pair: {
    stages: 'all',
    fds: 0,
    judged: true,
    once: false,
    agents: true,
    handler: ({ broker }, request, reply) => pairRequest(broker, request, reply),
  },
  exec: {
    stages: 'all',
    fds: 0,
    judged: true,
    once: false,
    agents: true,
    handler: ({ broker }, request, reply) => execRequest(broker, request, reply),
  },
  started: {
    stages: 'all',
    fds: 1,
    judged: false,
    once: false,
    handler: ({ broker }, request, reply, fd) => startedRequest(broker, request, reply, fd),
  },
  ended: {
    stages: 'all',
    fds: 0,
    judged: false,
    once: false,
    handler: ({ broker }, request, reply) => endedRequest(broker, request, reply),
  },
  release: {
    stages: 'all',
    fds: 0,
    judged: false,
    once: false,
    handler: ({ broker }, request, reply) => releaseRequest(broker, request, reply),
  },
  stage: {
    stages: 'all',
    fds: 0,
    judged: false,
    once: false,
    handler: ({ broker }, request, reply) => stageRequest(broker, request, reply),
  },
  settle: {
    stages: 'all',
    fds: 0,
    judged: false,
    once: false,
    // It is served when what a stage request does after its answer is done.
    handler: (_, __, reply) => ok(reply),
  },
  threads: {
    stages: 'all',
    fds: 0,
    judged: false,
    once: false,
    handler: ({ broker }, request, reply) => threadsRequest(broker, request, reply),
  },
  grant: {
    stages: 'all',
    fds: 0,
    judged: true,
    once: false,
    handler: ({ broker }, request, reply) => grantRequest(broker, request, reply),
  },
  revoke: {
    stages: 'all',
    fds: 0,
    judged: false,
    once: false,
    handler: ({ broker }, request, reply) => revokeRequest(broker, request, reply),
  },
  agent: {
    stages: 'all',
    fds: 1,
    judged: false,
    once: false,
    handler: agentRequest,
  },
  agents: {
    stages: 'all',
    fds: 1,
    judged: false,
    once: false,
    handler: agentsRequest,
  },
  log: {
    stages: 'all',
    fds: 1,
    judged: false,
    once: false,
    handler: ({ broker }, _, reply, fd) => logRequest(broker, fd, reply),
  },
  attachListener: {
    stages: 'all',
    fds: 1,
    judged: false,
    once: true,
    handler: (session, _, reply, fd) => attachListenerRequest(session, fd, reply),
  },
  status: {
    stages: 'all',
    fds: 0,
    judged: false,
    once: false,
    agents: true,
    handler: (session, _, reply) => statusRequest(session, reply),
  },
  shutdown: {
    stages: 'all',
    fds: 0,
    judged: false,
    once: true,
    handler: (session, _, reply) => shutdownRequest(session, reply),
  },
};

/** One client's conversation: hello first, ids that only grow, a bound on what is asked and not answered. */
export class Conversation {
  readonly #session: Session;
  readonly #channel: Channel;
  #outstanding = 0;

  constructor(session: Session, channel: Channel) {
    this.#session = session;
    this.#channel = channel;
  }

  greet(): void {
    const { profile, current } = this.#session.broker.stages;
    this.#channel.send({
      type: 'hello',
      magic: protocolMagic,
      version: protocolVersion,
      pid: process.pid,
      profile: profile.name,
      stage: current.stage.name,
      limits: protocolLimits,
      requests: Object.keys(requestTable).filter((type) => this.#mayAsk(type as RequestType)),
    });
  }

  #mayAsk(type: RequestType): boolean {
    return this.#session.broker.asker.door === 'launcher' || requestTable[type].agents === true;
  }

  /** Serves one packet. @throws RatchetError BROKER_PROTOCOL: the channel must end. */
  accept(data: Uint8Array, fds: readonly OwnedFd[], begun?: Begun): void {
    using frame = new Frame(data, this.#channel.door, begun);
    const request = decodeRequest(data);
    if (!this.#mayAsk(request.type))
      throw new RatchetError('BROKER_PROTOCOL', `a ${request.type} request, which is the launcher's alone`);
    if (fds.length !== requestTable[request.type].fds)
      throw new RatchetError('BROKER_PROTOCOL', `a ${request.type} request with ${fds.length} fds`);
    const { lastId } = this.#channel;
    if (request.id <= lastId) throw new RatchetError('BROKER_PROTOCOL', `request id ${request.id} after ${lastId}`);
    this.#channel.lastId = request.id;
    this.#serve(request, fds[0], frame);
  }

  #serve<T extends RequestType>(request: Extract<Request, { type: T }>, fd: OwnedFd | undefined, frame: Frame): void {
    let open = true;
    const row = requestTable[request.type as T];
    // What is not judged is answered at once, and some of it is word of what happened, which must not be lost: it does not count.
    const counts = row.judged;
    const reply: Reply = (result, ...resultFds) => {
      if (!open) throw new Error(`a second answer to request ${request.id}`);
      open = false;
      if (counts) {
        if (this.#outstanding === protocolLimits.maxOutstanding) this.#channel.openDoor();
        this.#outstanding -= 1;
      }
      this.#channel.send({ ...result, type: 'result', id: request.id }, resultFds);
    };
    if (counts) {
      this.#outstanding += 1;
      if (this.#outstanding === protocolLimits.maxOutstanding) this.#channel.shutDoor();
    }
    if (counts && this.#outstanding > protocolLimits.maxOutstanding) {
      reply({
        class: 'busy',
        what: `${protocolLimits.maxOutstanding} requests are outstanding`,
        next: 'wait for one of them',
      });
      return;
    }
    try {
      row.handler(this.#session, request, reply, fd, frame);
    } catch (error) {
      this.#session.broker.reporter.broker('a request handler failed; the request was refused', { error });
      if (open) failed(reply, 'the broker failed to serve this', errno.EIO, 'this is a bug: see its log');
    }
  }
}

function shutdownRequest(session: Session, reply: Reply): void {
  session.broker.reporter.summarise();
  reply({ class: 'ok', value: {} });
  // After the answer has left.
  setImmediate(session.end);
}
