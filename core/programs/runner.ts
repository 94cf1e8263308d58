// SPDX-License-Identifier: Apache-2.0
// The launcher's part in named programs: it starts what its broker says, by the name alone, and sees to it that none of them outlives the broker that permitted it or
// the VM that it ran for. What a name stands for the launcher knows itself, from the profile.
import { constants } from 'node:os';
import type { BrokerClient, ProgramOrder } from '../broker/client.ts';
import { deferred, withDeadline } from '../deferred.ts';
import { RatchetError } from '../errors.ts';
import type { EventStream } from '../launch/events.ts';
import { describeExit, type ExitStatus } from '../launch/exit-status.ts';
import { killByPidfd } from '../launch/kill.ts';
import type { PreparedProgram } from './prepare.ts';
import { type StartedProgram, startProgram } from './start.ts';

export interface RunnerOptions {
  readonly prepared: ReadonlyMap<string, PreparedProgram>;
  readonly events: EventStream;
  readonly deadlineMs: number;
}

const lastWordsMs = 500;

/** Ends that are remembered for who asks late. */
const maxEnds = 64;

/** As many as a broker lets run: one that has been taken over starts no more either. */
const maxRunning = 16;

export class ProgramRunner {
  readonly #options: RunnerOptions;
  /** By the client of the broker that ordered them, and its number. */
  readonly #ends = new WeakMap<BrokerClient, Map<number, Promise<ExitStatus>>>();
  readonly #running = new Set<Promise<void>>();
  readonly #processes = new Set<StartedProgram>();
  #closed = false;

  constructor(options: RunnerOptions) {
    this.#options = options;
  }

  /** From now on what this broker orders is started; with its end all of it is killed. */
  serve(client: BrokerClient): void {
    const own = new Set<StartedProgram>();
    let gone = false;
    client.onStart = (order) => {
      const run = this.#run(client, order, own, () => gone || this.#closed).finally(() => this.#running.delete(run));
      this.#running.add(run);
    };
    void client.closed.then(() => {
      gone = true;
      for (const { process } of own) killByPidfd(process.pidfd);
    });
  }

  /** How a program ends. @param number that of the broker behind this client. */
  exited(client: BrokerClient, number: number): Promise<ExitStatus> {
    return this.#ends.get(client)?.get(number) ?? Promise.resolve({ code: null, signal: null });
  }

  /** Kills what runs, and resolves when nothing does. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const { process } of this.#processes) killByPidfd(process.pidfd);
    while (this.#running.size > 0) await Promise.all(this.#running);
  }

  /** One program from its start to its end. Never rejects. */
  async #run(
    client: BrokerClient,
    { number, program: name, fds }: ProgramOrder,
    own: Set<StartedProgram>,
    unwanted: () => boolean,
  ): Promise<void> {
    const { events } = this.#options;
    let started: StartedProgram;
    try {
      started = await this.#start(name, fds);
    } catch (error) {
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
    own.add(started);
    this.#processes.add(started);
    // A broker or a VM that ended meanwhile has seen to those that ran by then.
    if (unwanted()) killByPidfd(pidfd);
    const over = deferred<ExitStatus>();
    this.#remember(client, number, over.promise);
    events.emit('program', { program: name, what: 'started', pid, number });
    // The broker may end it at once; it is told of the end in any case.
    const told = tell(client.programStarted(number, pid, pidfd));
    const status = await exited;
    // Its last words may come after its end; whoever was given its stderr could keep it open.
    await withDeadline(stderr.ended, lastWordsMs, () => new Error('it is still open')).catch(() => undefined);
    own.delete(started);
    this.#processes.delete(started);
    await told;
    pidfd.close();
    const words = stderr.text;
    events.emit('program', { program: name, what: 'ended', pid, number, ...status, words });
    await tell(client.programEnded(number, `${describeExit(status)}${words === '' ? '' : `: ${words}`}`));
    // Not before: who hears of the end may want the next one at once.
    over.resolve(status);
  }

  async #start(name: string, fds: ProgramOrder['fds']): Promise<StartedProgram> {
    try {
      const { prepared, deadlineMs, events } = this.#options;
      const program = prepared.get(name);
      if (program === undefined || this.#closed || this.#processes.size >= maxRunning)
        throw new RatchetError('REQUEST_REFUSED', `${name} is no program that this VM's profile lets run now`, {
          errno: 'EACCES',
        });
      const tell = (refusal: object): void =>
        events.emit('refusal', { ...refusal, door: 'program', thread: name, allowedIn: null, features: [] });
      return await startProgram(program, fds, { deadlineMs, tell });
    } finally {
      // The program has its own copies.
      for (const fd of fds) fd.close();
    }
  }

  #remember(client: BrokerClient, number: number, exited: Promise<ExitStatus>): void {
    const ends = this.#ends.get(client) ?? new Map<number, Promise<ExitStatus>>();
    this.#ends.set(client, ends);
    ends.set(number, exited);
    const oldest = ends.keys().next().value;
    if (ends.size > maxEnds && oldest !== undefined) ends.delete(oldest);
  }
}

/** A broker that is gone has nothing to be told; its programs are killed with it. */
async function tell(word: Promise<void>): Promise<void> {
  await word.catch(() => undefined);
}
