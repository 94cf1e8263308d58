// SPDX-License-Identifier: Apache-2.0
// The stage that a VMM is in, and all that changes the filters of its threads. One thing at a time: a stage change, a new thread that gets the
// filters of its role, a look at all threads.
import type { BrokerClient, RolesOfThreads } from '../broker/client.ts';
import type { CompiledStage } from '../compiler/index.ts';
import type { Requirements } from '../policy/types.ts';
import { roleChain, rolesIn } from '../stages/chain.ts';
import { threadIdFromOwn } from '../stages/own-thread-ids.ts';
import { giveRoles, type Threads, type Tightened, tighten } from '../stages/tighten.ts';
import { prepareDigests, type Verification, verifyThreads } from '../stages/verify.ts';
import type { ThreadKeeper } from '../vmm/thread-keeper.ts';
import type { ThreadRoles } from './thread-roles.ts';

export interface StageEngineParts {
  readonly pid: number;
  readonly pidfd: number;
  readonly stages: readonly CompiledStage[];
  /** What each stage requires of the process, by epoch. */
  readonly requires: readonly (Requirements | undefined)[];
  /** The descriptor, in the process, of the Landlock ruleset that its threads enter with a stage, by epoch. */
  readonly rulesetFd: (epoch: number) => number | undefined;
  readonly inheritedFilters: number;
  readonly deadlineMs: number;
  readonly roles: ThreadRoles;
  /** Throws when the process has ended: nothing may be done by its number then. */
  readonly assertAlive: () => void;
  /** The present one. */
  readonly broker: () => BrokerClient;
  readonly tellBroker: (roles: RolesOfThreads, broker: BrokerClient) => Promise<void>;
  /** Makes the broker judge by this epoch. */
  readonly moveBroker: (epoch: number) => Promise<void>;
  /** Tightens the layers for this epoch. */
  readonly confine: (epoch: number) => Promise<void>;
}

export class StageEngine implements ThreadKeeper {
  readonly #parts: StageEngineParts;
  #epoch = 0;
  #restricted: number | undefined;
  #last: Promise<void> = Promise.resolve();
  #unfiltered = false;
  /** What which broker knows. */
  #told: { readonly broker: BrokerClient; readonly key: string } | undefined;

  constructor(parts: StageEngineParts) {
    this.#parts = parts;
  }

  get stage(): string {
    return this.#parts.stages[this.#epoch]?.name ?? '';
  }

  get epoch(): number {
    return this.#epoch;
  }

  /** How many threads restricted themselves when the files were last made fewer. */
  get restricted(): number | undefined {
    return this.#restricted;
  }

  /** Whether threads of a role have filters of their own in the present stage. */
  hasRole(role: string): boolean {
    return rolesIn(this.#entered()).has(role);
  }

  /** Runs `act` when all that was asked before is done. */
  async inTurn<T>(act: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(act);
    this.#last = turn.then(
      () => undefined,
      () => undefined,
    );
    return await turn;
  }

  /** Enters the next stage. To be called in turn. @throws as tighten() does. */
  async enterNext(): Promise<Tightened> {
    const epoch = this.#epoch + 1;
    const { moveBroker, confine } = this.#parts;
    const stages = this.#parts.stages.slice(0, epoch + 1);
    const { roles: _, ...common } = this.#options(stages, new Map());
    const tightened = await tighten({
      ...common,
      askRoles: () => this.#rolesFor(stages),
      requires: this.#parts.requires[epoch],
      rulesetFd: this.#parts.rulesetFd(epoch),
      moveBroker: () => moveBroker(epoch),
      confine: () => confine(epoch),
      tellBroker: (roles) => this.#tellBroker(roles),
    });
    this.#epoch = epoch;
    this.#restricted = tightened.restricted ?? this.#restricted;
    this.#remember(tightened.roles);
    return tightened;
  }

  /** To be called in turn. @throws RatchetError VERIFICATION_FAILED. */
  async verify(): Promise<Verification> {
    const stages = this.#entered();
    const roles = await this.#rolesFor(stages);
    this.#parts.assertAlive();
    return verifyThreads(this.#options(stages, roles));
  }

  async adding<T>(role: string, add: () => Promise<T>, pause?: () => Promise<() => Promise<void>>): Promise<T> {
    if (!rolesIn(this.#parts.stages).has(role)) return await add();
    return await this.inTurn(async () => {
      if (!this.hasRole(role)) return await add();
      const resume = await pause?.();
      this.#unfiltered = true;
      const added = await add().catch(async (error: unknown) => {
        // It may have made the thread all the same.
        await this.#filterNewThreads();
        await resume?.();
        throw error;
      });
      await this.#filterNewThreads();
      await resume?.();
      return added;
    });
  }

  fromOwn(own: number): number {
    return threadIdFromOwn(this.#parts.pid, own);
  }

  async beforeRunning(): Promise<void> {
    if (this.#unfiltered) await this.inTurn(() => this.#filterNewThreads());
  }

  async #filterNewThreads(): Promise<void> {
    const stages = this.#entered();
    const roles = await this.#rolesFor(stages);
    await this.#tellBroker(roles);
    this.#parts.assertAlive();
    giveRoles(this.#options(stages, roles));
    this.#remember(roles);
    this.#unfiltered = false;
  }

  /** Once the threads are there, and before the first stage is entered: what they are need not be told then. */
  async tellAhead(): Promise<void> {
    await this.inTurn(async () => this.#tellBroker(await this.#rolesFor(this.#parts.stages)));
    prepareDigests(this.#parts.stages);
  }

  /** To a broker that follows one that died. */
  async tellSuccessor(broker: BrokerClient): Promise<void> {
    await this.#tellBroker(this.#parts.roles.living, broker);
  }

  /** The broker judges by roles too. It is told before filters are given, and what it is told holds while they are. */
  async #tellBroker(roles: ReadonlyMap<number, string>, broker = this.#parts.broker()): Promise<void> {
    if (rolesIn(this.#parts.stages).size === 0) return;
    const words = { least: this.#leastFilters(), threads: this.#parts.roles.began(roles) };
    const key = JSON.stringify(words);
    if (this.#told?.broker === broker && this.#told.key === key) return;
    this.#told = undefined;
    await this.#parts.tellBroker(words, broker);
    this.#told = { broker, key };
  }

  /** How many filters a thread in a role has, now or when the next stage was entered. */
  #leastFilters(): [role: string, filters: number][] {
    const { stages, inheritedFilters } = this.#parts;
    const states = [this.#epoch + 1, this.#epoch + 2].map((count) => stages.slice(0, count));
    return [...rolesIn(stages)].flatMap((role): [string, number][] => {
      const counts = states
        .map((entered) => ({ ofStages: entered.length, ofRole: roleChain(entered, role).length }))
        .filter(({ ofRole }) => ofRole > 0)
        .map(({ ofStages, ofRole }) => inheritedFilters + ofStages + ofRole);
      return counts.length === 0 ? [] : [[role, Math.min(...counts)]];
    });
  }

  /** Threads in roles that have filters; nobody is asked where there are none. */
  async #rolesFor(stages: readonly CompiledStage[]): Promise<ReadonlyMap<number, string>> {
    const withFilters = rolesIn(stages);
    if (withFilters.size === 0) return new Map();
    const named = await this.#parts.roles.named();
    return new Map([...named].filter(([, role]) => withFilters.has(role)));
  }

  #options(stages: readonly CompiledStage[], roles: ReadonlyMap<number, string>): Threads {
    const { pid, pidfd, inheritedFilters, deadlineMs } = this.#parts;
    return { pid, pidfd, inheritedFilters, deadlineMs, stages, roles, given: this.#parts.roles.given };
  }

  #entered(): readonly CompiledStage[] {
    return this.#parts.stages.slice(0, this.#epoch + 1);
  }

  #remember(roles: ReadonlyMap<number, string>): void {
    for (const [tid, role] of roles) this.#parts.roles.give(tid, role);
  }
}
