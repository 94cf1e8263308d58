// SPDX-License-Identifier: Apache-2.0
// The launcher's part in named programs: it starts what its broker says, by the name alone, and sees to it that none of them outlives the broker that permitted it or
// the VM that it ran for. What a name stands for, how many of it may run, for how long and in which stages the launcher knows itself, from the profile.
import { constants } from 'node:os';
import type { BrokerClient, ProgramOrder } from '../broker/client.ts';
import { type Deferred, deferred, withDeadline } from '../deferred.ts';
import { RatchetError } from '../errors.ts';
import type { EventStream } from '../launch/events.ts';
import { describeExit, type ExitStatus } from '../launch/exit-status.ts';
import { killByPidfd } from '../launch/kill.ts';
import type { StagedProcess } from '../launch/stager.ts';
import type { OwnedFd } from '../owned-fd.ts';
import type { PreparedProgram } from './prepare.ts';
import { type StartedProgram, startProgram } from './start.ts';

export interface RunnerOptions {
  readonly prepared: ReadonlyMap<string, PreparedProgram>;
  readonly events: EventStream;
  readonly deadlineMs: number;
}

const lastWordsMs = 500;

/** The broker kills first, and its trail says why; this is for one that does not. */
const overtimeMs = 1000;

/** For a broker to take the last words about its programs. */
const farewellMs = 1000;

/** Ends that are remembered for who asks late. */
const maxEnds = 64;

/** As many as a broker lets run: one that has been taken over starts no more either. */
const maxRunning = 16;

/** From an order that is taken to the end of its process. */
interface Slot {
  readonly name: string;
  /** Settles when there is no process, or none any more. */
  readonly gone: Deferred<void>;
  process: StagedProcess | undefined;
  /** Killed as soon as there is a process. */
  unwanted: boolean;
}

export class ProgramRunner {
  readonly #options: RunnerOptions;
  /** By the client of the broker that ordered them, and its number. */
  readonly #ends = new WeakMap<BrokerClient, Map<number, Promise<ExitStatus>>>();
  readonly #running = new Set<Promise<void>>();
  readonly #slots = new Set<Slot>();
  #epoch = 0;
  #closed = false;

  constructor(options: RunnerOptions) {
    this.#options = options;
  }

  /** From now on what this broker orders is started; with its end all of it is killed. */
  serve(client: BrokerClient): void {
    const own = new Set<Slot>();
    let gone = false;
    client.onStart = (order) => {
      if (gone || this.#closed) {
        for (const fd of order.fds) fd.close();
        return;
      }
      const run = this.#run(client, order, own).finally(() => this.#running.delete(run));
      this.#running.add(run);
    };
    void client.closed.then(() => {
      gone = true;
      for (const slot of own) giveUp(slot);
    });
  }

  /** How a program ends. @param number that of the broker behind this client. */
  exited(client: BrokerClient, number: number): Promise<ExitStatus> {
    return this.#ends.get(client)?.get(number) ?? Promise.resolve({ code: null, signal: null });
  }

  /**
   * Starts nothing more that this stage of the VM's profile neither grants nor lets be granted, and kills what of it runs, whatever the broker does.
   * Resolves when it has ended. @throws RatchetError REQUEST_FAILED with ETIMEDOUT.
   */
  async enter(epoch: number): Promise<void> {
    this.#epoch = Math.max(this.#epoch, epoch);
    await this.#endAll([...this.#slots].filter(({ name }) => !this.#isGranted(name)));
  }

  /** Kills what runs, and resolves when nothing does; its broker has a while to hear of it. @throws RatchetError REQUEST_FAILED with ETIMEDOUT. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#endAll([...this.#slots]);
    const told = Promise.all(this.#running);
    await withDeadline(told, farewellMs, () => new Error('the broker does not answer')).catch(() => undefined);
  }

  #isGranted(name: string): boolean {
    return this.#options.prepared.get(name)?.epochs.has(this.#epoch) === true;
  }

  async #endAll(slots: readonly Slot[]): Promise<void> {
    for (const slot of slots) giveUp(slot);
    const { deadlineMs } = this.#options;
    await withDeadline(Promise.all(slots.map(({ gone }) => gone.promise)), deadlineMs, () => {
      const names = slots.map(({ name }) => name).join(', ');
      return new RatchetError('REQUEST_FAILED', `programs that were killed have not ended: ${names}`, {
        errno: 'ETIMEDOUT',
        next: 'look for processes in state D',
      });
    });
  }

  /** One program from its start to its end. Never rejects. */
  async #run(client: BrokerClient, { number, program: name, fds }: ProgramOrder, own: Set<Slot>): Promise<void> {
    const { events } = this.#options;
    let slot: Slot | undefined;
    let started: StartedProgram;
    try {
      // Before anything is waited for: orders that come together are counted one by one.
      const program = this.#admit(name, fds.length);
      slot = { name, gone: deferred(), process: undefined, unwanted: false };
      this.#slots.add(slot);
      own.add(slot);
      started = await this.#start(program, fds);
    } catch (error) {
      for (const fd of fds) fd.close();
      if (slot !== undefined) this.#leave(slot, own);
      const errno = (error as RatchetError).errno ?? 'EIO';
      const what = (error as Error).message;
      events.emit('program', { program: name, what: 'not started', errno, words: what });
      await tell(
        client.programEnded(
          number,
          what,
          constants.errno[errno as keyof typeof constants.errno] ?? constants.errno.EIO,
        ),
      );
      return;
    }
    const { process, stderr } = started;
    const { pid, pidfd, exited } = process;
    slot.process = process;
    // A broker, a stage or a VM that ended meanwhile has seen to those that ran by then.
    if (slot.unwanted) killByPidfd(pidfd);
    const seconds = this.#options.prepared.get(name)?.program.seconds ?? 0;
    const overtime = setTimeout(() => killByPidfd(pidfd), seconds * 1000 + overtimeMs).unref();
    const over = deferred<ExitStatus>();
    this.#remember(client, number, over.promise);
    events.emit('program', { program: name, what: 'started', pid, number });
    // The broker may end it at once; it is told of the end in any case. One that does not take it has nobody to end it, or is gone.
    const told = client.programStarted(number, pid, pidfd).catch(() => killByPidfd(pidfd));
    const status = await exited;
    clearTimeout(overtime);
    this.#leave(slot, own);
    // Its last words may come after its end; whoever was given its stderr could keep it open.
    await withDeadline(stderr.ended, lastWordsMs, () => new Error('it is still open')).catch(() => undefined);
    const words = stderr.text;
    events.emit('program', { program: name, what: 'ended', pid, number, ...status, words });
    await told;
    pidfd.close();
    await tell(client.programEnded(number, `${describeExit(status)}${words === '' ? '' : `: ${words}`}`));
    // Not before: who hears of the end may want the next one at once.
    over.resolve(status);
  }

  #leave(slot: Slot, own: Set<Slot>): void {
    // Its pidfd is closed soon.
    slot.process = undefined;
    this.#slots.delete(slot);
    own.delete(slot);
    slot.gone.resolve();
  }

  /** @throws RatchetError REQUEST_REFUSED: with EACCES, EBUSY, or EPROTO for an order that no sound broker gives. */
  #admit(name: string, streams: number): PreparedProgram {
    const prepared = this.#options.prepared.get(name);
    if (prepared === undefined || !this.#isGranted(name))
      throw new RatchetError('REQUEST_REFUSED', `${name} is no program that this VM's profile lets run now`, {
        errno: 'EACCES',
      });
    const { stdio, atOnce } = prepared.program;
    if (streams !== (stdio === 'socket' ? 1 : 2))
      throw new RatchetError('REQUEST_REFUSED', `${name} was ordered with ${streams} streams`, { errno: 'EPROTO' });
    const same = [...this.#slots].filter((slot) => slot.name === name);
    if (same.length >= atOnce || this.#slots.size >= maxRunning)
      throw new RatchetError('REQUEST_REFUSED', `as many of ${name} as may run together do`, { errno: 'EBUSY' });
    return prepared;
  }

  /** Takes the streams: the program has its own copies. */
  async #start(prepared: PreparedProgram, streams: readonly OwnedFd[]): Promise<StartedProgram> {
    const { deadlineMs, events } = this.#options;
    const thread = prepared.program.name;
    const tell = (refusal: object): void =>
      events.emit('refusal', { ...refusal, door: 'program', thread, allowedIn: null, features: [] });
    const started = await startProgram(prepared, streams, { deadlineMs, tell });
    for (const fd of streams) fd.close();
    return started;
  }

  #remember(client: BrokerClient, number: number, exited: Promise<ExitStatus>): void {
    const ends = this.#ends.get(client) ?? new Map<number, Promise<ExitStatus>>();
    this.#ends.set(client, ends);
    ends.set(number, exited);
    const oldest = ends.keys().next().value;
    if (ends.size > maxEnds && oldest !== undefined) ends.delete(oldest);
  }
}

function giveUp(slot: Slot): void {
  slot.unwanted = true;
  if (slot.process !== undefined) killByPidfd(slot.process.pidfd);
}

/** A broker that is gone has nothing to be told; its programs are killed with it. */
async function tell(word: Promise<void>): Promise<void> {
  await word.catch(() => undefined);
}
