// SPDX-License-Identifier: Apache-2.0
// A sandbox's broker, whichever it is by now: moved from stage to stage, looked at, and followed by another when it dies.
import type { BrokerClient, RolesOfThreads } from '../broker/client.ts';
import type { BrokerEvent, BrokerStatus } from '../broker/protocol.ts';
import { RatchetError } from '../errors.ts';
import { readTasks } from '../stages/tasks.ts';
import { attestBroker, type BrokerAttestation } from './attest-broker.ts';
import type { BrokerKeeper } from './broker-keeper.ts';
import type { BrokerNamespace } from './broker-namespaces.ts';
import type { EventStream, SandboxEvent } from './events.ts';

interface FollowedBrokerParts {
  readonly keeper: BrokerKeeper;
  readonly namespaces: readonly BrokerNamespace[];
  readonly deadlineMs: number;
  readonly events: EventStream;
  /** Adds to an event what the broker does not know. */
  readonly complete: (event: BrokerEvent) => SandboxEvent;
  /** What the next broker has to know before it serves. */
  readonly tellSuccessor: (client: BrokerClient) => Promise<void>;
  /** Whether the VMM has ended: no other broker follows then. */
  readonly isOver: () => boolean;
}

export class FollowedBroker {
  readonly #parts: FollowedBrokerParts;
  #epoch = 0;
  #alive = true;
  #counts = { allowed: 0, denied: 0 };
  #settled: Promise<void> | undefined;

  constructor(parts: FollowedBrokerParts) {
    this.#parts = parts;
  }

  get alive(): boolean {
    return this.#alive;
  }

  /** The last that it told. */
  get counts(): { readonly allowed: number; readonly denied: number } {
    return this.#counts;
  }

  /** When the broker has taken from itself what its present stage demands. */
  get settled(): Promise<void> | undefined {
    return this.#settled;
  }

  /** A broker that is dead grants nothing any more, in no stage; one that moved when an earlier attempt failed stays where it is. */
  async move(epoch: number): Promise<void> {
    const { client } = this.#parts.keeper.current;
    try {
      if (this.#epoch < epoch)
        await client.enterStage(epoch).catch(async (error: unknown) => {
          // The answer to an earlier attempt may have been lost.
          if ((await client.status()).epoch < epoch) throw error;
        });
      this.#epoch = epoch;
    } catch (error) {
      if (!isDeath(error)) throw error;
    }
    this.#settled = this.#settle();
  }

  /** Never rejects. */
  async #settle(): Promise<void> {
    await this.#parts.keeper.current.client.settled().catch(() => undefined);
  }

  /** A broker that has ended permits nothing, which is no weakness. */
  attest(): BrokerAttestation {
    const { keeper, deadlineMs, namespaces } = this.#parts;
    const { pid, confinement } = keeper.current;
    if (this.#alive) {
      const found = attestBroker(pid, confinement, deadlineMs, namespaces);
      // It may have ended while we looked.
      if (found.ok || readTasks(pid).length > 0) return found;
    }
    const reason = 'the broker has ended: brokered calls fail with ENOSYS';
    return { ok: true, mechanisms: [{ name: 'broker-seccomp', state: 'absent', reason }] };
  }

  /** Undefined when it is dead; the counts are then the last that it told. */
  async status(): Promise<BrokerStatus | undefined> {
    if (!this.#alive) return undefined;
    try {
      const status = await this.#parts.keeper.current.client.status();
      this.#counts = { allowed: status.allowed, denied: status.denied };
      return status;
    } catch (error) {
      if (isDeath(error)) return undefined;
      throw error;
    }
  }

  /** Hands on what it and its successors tell. Settles when there is none any more. */
  async follow(): Promise<void> {
    const { keeper, events, complete, tellSuccessor, isOver } = this.#parts;
    for (;;) {
      const { client, pid } = keeper.current;
      for await (const event of client.events) events.push(complete(event));
      this.#alive = false;
      if (isOver()) return;
      const next = await keeper.takeOver(this.#epoch, tellSuccessor);
      if (isOver()) return;
      if (next === undefined) {
        events.emit('broker', {
          what: 'ended',
          pid,
          next: 'brokered calls of the VMM now fail with ENOSYS; the VMM itself goes on',
        });
        return;
      }
      this.#alive = true;
      events.emit('broker', {
        what: 'replaced',
        pid,
        newPid: next.pid,
        next: 'stage, counters and grants go on; calls and requests that were under way have failed (EIO)',
      });
    }
  }
}

/** One that is dead need not know, and one that follows it is told by itself. */
export async function tellUnlessDead(roles: RolesOfThreads, broker: BrokerClient): Promise<void> {
  await broker.tellThreads(roles).catch((error: unknown) => {
    if (!isDeath(error)) throw error;
  });
}

function isDeath(error: unknown): boolean {
  return error instanceof RatchetError && error.code === 'BROKER_DIED';
}
