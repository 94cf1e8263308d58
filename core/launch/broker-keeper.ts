// SPDX-License-Identifier: Apache-2.0
// Keeps a VM served: holds a copy of its seccomp listener, and when the broker dies starts another that goes on where it was. The stage, the counters and what
// is left of the grants are in the journal, a memory file that every broker of this VM writes to.
import { native } from '../../native/index.ts';
import type { BrokerClient } from '../broker/client.ts';
import { journalBytes } from '../broker/protocol.ts';
import { OwnedFd } from '../owned-fd.ts';
import { type BrokerOptions, type BrokerProcess, endBroker, startBroker } from './broker-process.ts';
import { TrailFile } from './trail-file.ts';

/** More deaths within a minute than `restarts` are taken for a fault that comes again. */
const windowMs = 60_000;

export class BrokerKeeper {
  readonly #options: Omit<BrokerOptions, 'journal'>;
  readonly #journal: OwnedFd;
  readonly #restarts: number;
  #current: BrokerProcess;
  #listener: OwnedFd | undefined;
  #deaths: number[] = [];
  #taking: Promise<BrokerProcess | undefined> | undefined;
  #ended = false;
  #replaced = 0;

  private constructor(
    options: Omit<BrokerOptions, 'journal'>,
    restarts: number,
    journal: OwnedFd,
    first: BrokerProcess,
  ) {
    this.#options = options;
    this.#restarts = restarts;
    this.#journal = journal;
    this.#current = first;
  }

  /** The first broker. `restarts`: how many may follow within a minute. */
  static async start(options: Omit<BrokerOptions, 'journal'>, restarts: number): Promise<BrokerKeeper> {
    const journal = new OwnedFd(
      native.memfd({ name: 'ratchet-journal', data: new Uint8Array(journalBytes), seal: false }),
    );
    try {
      const keeper = new BrokerKeeper(options, restarts, journal, await startBroker({ ...options, journal }));
      // One that dies just then leaves it to the next, which begins with the new file.
      if (options.log instanceof TrailFile)
        options.log.onReopened = (file) => void keeper.current.client.log(file).catch(() => undefined);
      return keeper;
    } catch (error) {
      closeShared(options);
      journal.close();
      throw error;
    }
  }

  /** Brokers that followed one that died. */
  get replaced(): number {
    return this.#replaced;
  }

  get current(): BrokerProcess {
    return this.#current;
  }

  /** Gives the listener to the broker. A copy stays here while a restart is possible: without it the VMM's calls would end with the broker (ENOSYS). */
  async attachListener(listener: OwnedFd): Promise<void> {
    const keep = this.#restarts > 0;
    await this.#current.client.attachListener(listener, { keep });
    if (keep) this.#listener = new OwnedFd(listener.release());
  }

  /**
   * After the broker's death: the next one, serving; undefined when there is to be none, and from then on the kernel answers ENOSYS. `prepare` tells it what
   * it has to know before it serves.
   */
  async takeOver(epoch: number, prepare: (client: BrokerClient) => Promise<void>): Promise<BrokerProcess | undefined> {
    this.#taking = this.#next(epoch, prepare).catch(() => undefined);
    const next = await this.#taking;
    if (next === undefined) this.#giveUp();
    return next;
  }

  async #next(epoch: number, prepare: (client: BrokerClient) => Promise<void>): Promise<BrokerProcess | undefined> {
    const now = performance.now();
    this.#deaths = [...this.#deaths.filter((death) => now - death < windowMs), now];
    if (this.#ended || this.#listener === undefined || this.#deaths.length > this.#restarts) return undefined;
    const next = await startBroker({ ...this.#options, journal: this.#journal });
    try {
      // The journal knows it too; what the launcher knows counts, in case that the journal was tampered with.
      const status = await next.client.status();
      if (status.epoch < epoch) await next.client.enterStage(epoch);
      await prepare(next.client);
      await next.client.attachListener(this.#listener, { keep: true });
    } catch (error) {
      await endBroker(next);
      throw error;
    }
    this.#current = next;
    this.#replaced += 1;
    return next;
  }

  #giveUp(): void {
    this.#listener?.close();
    this.#listener = undefined;
  }

  /** Ends the broker, whichever it is by then. */
  async end(): Promise<void> {
    this.#ended = true;
    await this.#taking;
    this.#giveUp();
    await endBroker(this.#current);
    this.#journal.close();
    closeShared(this.#options);
  }
}

/** What every broker of this VM was given. */
function closeShared({ log, agents }: Pick<BrokerOptions, 'log' | 'agents'>): void {
  if (log instanceof TrailFile) log.close();
  agents?.socket.close();
}
