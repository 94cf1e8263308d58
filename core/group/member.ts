// SPDX-License-Identifier: Apache-2.0
import { RatchetError } from '../errors.ts';
import { EventStream } from '../launch/events.ts';
import { launchVmm } from '../launch/launch.ts';
import type { LaunchOptions } from '../launch/options.ts';
import type { EnforcementReport } from '../launch/report.ts';
import type { Sandbox } from '../launch/sandbox.ts';
import { type HeldUser, holdUser } from '../layers/user-range.ts';
import type { Vmm } from '../vmm/vmm.ts';
import { namedLines } from './named-lines.ts';
import { Restarts } from './restarts.ts';
import type { MemberSpec } from './spec.ts';
import { fillIn } from './substitute.ts';
import type { Wires } from './wires.ts';

/** What a launcher may add to a member, beyond the file. */
export type MemberOptions = Pick<
  LaunchOptions,
  'stdio' | 'stderr' | 'inherit' | 'environment' | 'optional' | 'brokerRestarts'
>;

export interface MemberParts {
  readonly spec: MemberSpec;
  readonly wires: Wires;
  readonly options: MemberOptions;
  readonly events: EventStream;
  readonly deadlineMs: number;
  /** Gives up whatever is being started. */
  readonly signal: AbortSignal;
  /** Added to its command. */
  readonly moreWords?: readonly string[];
  /** Removed by its broker when it is gone. */
  readonly ownedPaths?: readonly string[];
}

/** One process of a group, which may be started more than once. */
export class Member implements Disposable {
  readonly spec: MemberSpec;
  readonly restarts = new Restarts();
  readonly #parts: MemberParts;
  #sandbox: Sandbox<Vmm> | undefined;
  #starts = 0;
  #user: HeldUser | undefined;
  /** The latest stage that it was in, or was asked into: none that follows it stops earlier. */
  #reached: string | undefined;
  #turn: Promise<unknown> = Promise.resolve();
  /** While it has ended and is being started again. */
  comingBack: Promise<void> | undefined;

  constructor(parts: MemberParts) {
    this.spec = parts.spec;
    this.#parts = parts;
  }

  get name(): string {
    return this.spec.name;
  }

  /** The one that runs, or ran last. @throws before the first start. */
  get sandbox(): Sandbox<Vmm> {
    if (this.#sandbox === undefined) throw new Error(`member ${this.name} was not started`);
    return this.#sandbox;
  }

  /** How often it was started. */
  get starts(): number {
    return this.#starts;
  }

  /** Into its first stage, set up. Its sockets are not to be found yet. @throws RatchetError; nothing of it is left then. */
  async start(): Promise<Sandbox<Vmm>> {
    const { spec, wires, options, signal, deadlineMs, moreWords = [], ownedPaths = [] } = this.#parts;
    this.#remember(this.#sandbox?.stage);
    const taken = options.inherit ?? new Map<number, number>();
    return await this.#named(async () => {
      using ends = wires.endsFor(this.name, taken);
      const [program, ...args] = [...spec.command.map((word) => fillIn(word, ends.values)), ...moreWords] as [
        string,
        ...string[],
      ];
      const sandbox = await launchVmm(
        {
          command: [program, ...args],
          ...(spec.profile === undefined ? {} : { profile: spec.profile }),
          features: spec.features,
          allow: [...spec.allow, ...ends.allow],
          mayGrant: spec.mayGrant,
          stdio: spec.terminal ? ['inherit', 'inherit', 'inherit'] : ['ignore', 'ignore', 'pipe'],
          stderr: namedLines(this.name),
          ...this.#layers(),
          ...options,
          inherit: new Map([...taken, ...ends.inherit]),
          ownedPaths: [...ends.ownedPaths, ...ownedPaths],
          deadlineMs,
          signal,
          events: this.#ownEvents(),
        },
        { stayInFirst: true, restarts: spec.onEnd.kind === 'restart' },
      );
      this.#sandbox = sandbox;
      this.#starts++;
      return sandbox;
    });
  }

  /** Resolves when it answers on the links that it serves, as far as its adapter can tell. */
  async answers(): Promise<void> {
    const { wires, deadlineMs } = this.#parts;
    for (const peerFd of wires.peersOf(this.name))
      await this.#named(async () => await this.sandbox.vmm.answersOn?.(peerFd, deadlineMs));
  }

  /** Into the stage that it has at the barrier, or that it or its like was in already; verified. */
  async tighten(): Promise<EnforcementReport | undefined> {
    return await this.#inTurn(async () => {
      const { stages, stage } = this.sandbox;
      this.#remember(this.spec.stage ?? stages[1]);
      const target = this.#reached;
      // A name that is no stage is the sandbox's to refuse.
      if (target === undefined || (stages.includes(target) && !this.#isLater(target, stage))) return undefined;
      return await this.#named(() => this.sandbox.enter(target));
    });
  }

  /** Into a later stage, now and whenever it is started again; verified. */
  async enter(stage: string): Promise<EnforcementReport> {
    return await this.#named(async () => {
      this.check(stage);
      this.#remember(stage);
      await this.comingBack;
      return await this.#inTurn(async () =>
        this.sandbox.stage === stage ? await this.sandbox.attest() : await this.sandbox.enter(stage),
      );
    });
  }

  /** @throws RatchetError STAGE_UNKNOWN, before anything is done. */
  check(stage: string): void {
    const { stages } = this.sandbox;
    if (stages.includes(stage)) return;
    throw new RatchetError('STAGE_UNKNOWN', `member ${this.name}: the profile has no stage ${stage}`, {
      next: `it has ${stages.join(', ')}`,
    });
  }

  /** Whether it has not been in the stage yet. */
  isBefore(stage: string): boolean {
    return this.#isLater(stage, this.sandbox.stage);
  }

  async letRun(): Promise<void> {
    await this.#named(() => this.sandbox.letRun());
  }

  #layers(): Pick<LaunchOptions, 'layers'> {
    const { layers } = this.spec;
    if (layers === undefined) return {};
    const { users, ...rest } = layers;
    if (users !== undefined) this.#user ??= holdUser(users);
    return { layers: { ...rest, ...(this.#user === undefined ? {} : { user: this.#user.user }) } };
  }

  /** Gives back what it had for all of its starts. */
  [Symbol.dispose](): void {
    this.#user?.[Symbol.dispose]();
    this.#user = undefined;
  }

  /** Ends it, whatever it is doing. */
  async close(): Promise<void> {
    await this.#sandbox?.close();
  }

  /** A stream of each start's own, passed on under the member's name: a sandbox ends its stream with itself. */
  #ownEvents(): EventStream {
    const own = new EventStream();
    const reader = own[Symbol.asyncIterator]();
    void (async () => {
      for (let next = await reader.next(); next.done !== true; next = await reader.next())
        this.#parts.events.push({ ...next.value, member: this.name });
    })();
    return own;
  }

  #remember(stage: string | undefined): void {
    if (stage !== undefined && (this.#reached === undefined || this.#isLater(stage, this.#reached)))
      this.#reached = stage;
  }

  #isLater(stage: string, than: string): boolean {
    const { stages } = this.sandbox;
    return stages.indexOf(stage) > stages.indexOf(than);
  }

  /** A restart may tighten it while somebody asks for a later stage. */
  #inTurn<T>(act: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(act);
    this.#turn = done.catch(() => undefined);
    return done;
  }

  async #named<T>(act: () => Promise<T>): Promise<T> {
    try {
      return await act();
    } catch (error) {
      if (!(error instanceof RatchetError) || error === this.#parts.signal.reason) throw error;
      if (error.message.startsWith(`member ${this.name}: `)) throw error;
      throw new RatchetError(error.code, `member ${this.name}: ${error.message}`, { cause: error });
    }
  }
}
