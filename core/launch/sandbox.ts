// SPDX-License-Identifier: Apache-2.0
import { constants } from 'node:os';
import { basename } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import type { BrokerClient, ExecOptions, TapOptions } from '../broker/client.ts';
import type { BrokerEvent } from '../broker/protocol.ts';
import type { CompiledProfile } from '../compiler/index.ts';
import { RatchetError } from '../errors.ts';
import { rulesetAt } from '../layers/stage-ruleset.ts';
import type { OwnedFd } from '../owned-fd.ts';
import type { ResolvedProfile, ResolvedStage } from '../policy/types.ts';
import type { ProgramRunner } from '../programs/runner.ts';
import { RunningProgram } from '../programs/running-program.ts';
import type { Lease } from '../qemu/fd-source.ts';
import type { Qemu } from '../qemu/qemu.ts';
import { readTasks } from '../stages/tasks.ts';
import { NothingChanged } from '../stages/tighten.ts';
import type { Verification } from '../stages/verify.ts';
import type { ThreadKeeper } from '../vmm/thread-keeper.ts';
import type { PreparedVmm, Vmm, VmmHost, VmmNeed } from '../vmm/vmm.ts';
import { assertNeeds } from './assert-needs.ts';
import type { BrokerKeeper } from './broker-keeper.ts';
import type { BrokerNamespace } from './broker-namespaces.ts';
import type { EventStream, SandboxEvent } from './events.ts';
import { describeExit, type ExitStatus } from './exit-status.ts';
import { completeRefusal, type FindFeatures } from './feature-finder.ts';
import { FollowedBroker, tellUnlessDead } from './followed-broker.ts';
import { type Granting, grantLease, grantMore } from './granting.ts';
import { KernelRecords } from './kernel-records.ts';
import { killByPidfd, signalByPidfd } from './kill.ts';
import { ownConnections } from './own-connections.ts';
import { type EnforcementReport, makeReport, type ProgramSource } from './report.ts';
import type { RuntimeGrant, RuntimeGrantOptions } from './runtime-grant.ts';
import { attestLayers, enterLayers, type SandboxLayers } from './sandbox-layers.ts';
import type { SandboxStatus } from './sandbox-status.ts';
import { StageEngine } from './stage-engine.ts';
import type { StagedProcess } from './stager.ts';
import { ThreadRoles } from './thread-roles.ts';

export interface SandboxParts<V extends Vmm> {
  readonly adapter: PreparedVmm<V>;
  readonly profile: ResolvedProfile;
  readonly compiled: CompiledProfile;
  readonly source: ProgramSource;
  readonly path: string;
  readonly broker: BrokerKeeper;
  readonly brokerNamespaces: readonly BrokerNamespace[];
  readonly programs: ProgramRunner;
  readonly process: StagedProcess;
  /** Our end of the VMM's channel. */
  readonly channelFd: number;
  readonly inheritedFilters: number;
  /** Names of the profile's features that would permit a call in a stage. */
  readonly featuresFor: FindFeatures;
  readonly events: EventStream;
  /** Undefined: only its filters confine it. */
  readonly layers: SandboxLayers | undefined;
  /** When the VMM was started, as Date.now() counts. */
  readonly startedMs: number;
  readonly deadlineMs: number;
}

/** A running VMM, its broker and the stage they are in. Made by `launch()`; `await using` closes it. */
export class Sandbox<V extends Vmm = Qemu> implements VmmHost, AsyncDisposable {
  readonly pid: number;
  /** The VMM's adapter; for QEMU its monitor, hotplug and migration. */
  readonly vmm: V;
  readonly events: EventStream;
  /** Settles when the VMM has ended. */
  readonly exited: Promise<ExitStatus>;
  readonly #parts: SandboxParts<V>;
  readonly #roles: ThreadRoles;
  readonly #engine: StageEngine;
  readonly #broker: FollowedBroker;
  #ended = false;
  #closed: Promise<void> | undefined;
  readonly #brokerFollowed: Promise<void>;
  readonly #released: Promise<void>;
  readonly #records: KernelRecords;

  constructor(parts: SandboxParts<V>) {
    this.#parts = parts;
    this.events = parts.events;
    this.pid = parts.process.pid;
    this.#roles = new ThreadRoles(this.pid, () => this.vmm.threadRoles());
    this.#broker = new FollowedBroker({
      keeper: parts.broker,
      namespaces: parts.brokerNamespaces,
      deadlineMs: parts.deadlineMs,
      events: this.events,
      complete: (event) => this.#completed(event),
      tellSuccessor: (client) => this.#engine.tellSuccessor(client),
      isOver: () => this.#ended,
    });
    this.#engine = new StageEngine({
      pid: this.pid,
      pidfd: parts.process.pidfd.fd,
      stages: parts.compiled.stages,
      requires: parts.profile.stages.map(({ requires }) => requires),
      rulesetFd: (epoch) => (parts.layers === undefined ? undefined : rulesetAt(parts.layers.plan, epoch)?.fd),
      inheritedFilters: parts.inheritedFilters,
      deadlineMs: parts.deadlineMs,
      roles: this.#roles,
      assertAlive: () => this.#assertAlive(),
      broker: () => parts.broker.current.client,
      tellBroker: tellUnlessDead,
      moveBroker: async (epoch) => {
        await this.#broker.move(epoch);
        await parts.programs.enter(epoch);
        // It may have ended while we waited.
        this.#assertAlive();
      },
      confine: async (epoch) => {
        if (parts.layers === undefined) return;
        const { pid, pidfd } = parts.process;
        const assertAlive = (): void => this.#assertAlive();
        await enterLayers(parts.layers, { pid, pidfd: pidfd.fd, epoch, deadlineMs: parts.deadlineMs, assertAlive });
      },
    });
    this.vmm = parts.adapter.connect(parts.channelFd, this);
    this.exited = parts.process.exited;
    this.#records = new KernelRecords({
      pid: this.pid,
      startedMs: parts.startedMs,
      stage: () => this.#resolvedStage,
      events: this.events,
    });
    this.#brokerFollowed = this.#broker.follow();
    this.#released = this.exited.then((status) => this.#onExit(status));
    // Told to whoever closes it.
    this.#released.catch(() => undefined);
  }

  /** The VMM's stdout, when it was asked for as a pipe. */
  get stdout(): Readable {
    const { stdout } = this.#parts.process.streams;
    if (stdout === null) throw new RatchetError('ARGUMENT_INVALID', "the VMM's stdout was not launched as a pipe");
    return stdout;
  }

  /** The VMM's stdin, when it was asked for as a pipe. */
  get stdin(): Writable {
    const { stdin } = this.#parts.process.streams;
    if (stdin === null) throw new RatchetError('ARGUMENT_INVALID', "the VMM's stdin was not launched as a pipe");
    return stdin;
  }

  /** Filters that every process here has from outside (a container's); the stages' come on top. */
  get inheritedFilters(): number {
    return this.#parts.inheritedFilters;
  }

  /** Whether the VMM has not ended. */
  get alive(): boolean {
    return !this.#ended;
  }

  get stages(): readonly string[] {
    return this.#parts.compiled.stages.map(({ name }) => name);
  }

  get stage(): string {
    return this.#engine.stage;
  }

  /** For the adapter: gives threads that are made later the filters of their role. */
  get threads(): ThreadKeeper {
    return this.#engine;
  }

  /** For operations of the adapter that would be done and come to nothing. */
  assertAllows(need: VmmNeed): void {
    const { name, soak } = this.#resolvedStage;
    if (soak !== true) assertNeeds([need], this.#parts.profile, [name]);
  }

  get #resolvedStage(): ResolvedStage {
    const stage = this.#parts.profile.stages[this.#engine.epoch];
    if (stage === undefined) throw new Error('a profile without stages');
    return stage;
  }

  /**
   * Moves the VMM to a later stage: broker first, then the filter in every thread, then the proof from outside. There is no way back.
   * When nothing of the VMM was changed by a failure (it was traced, for instance), it goes on in the stage that it is in, with a broker that may be
   * stricter already, and this can be tried again. After any other failure the VMM is killed.
   * @throws RatchetError STAGE_UNKNOWN, STAGE_BACKWARDS, VMM_EXITED; `NothingChanged` (INJECTION_FAILED, or the broker's code) when the VMM goes on;
   *   INJECTION_FAILED or VERIFICATION_FAILED when it is dead.
   */
  async enter(stage: string): Promise<EnforcementReport> {
    return await this.#engine.inTurn(() => this.#enterNow(stage));
  }

  /** When the machine is built: by the first stage change the broker then knows already what each thread is. */
  async tellAhead(): Promise<void> {
    await this.#engine.tellAhead();
  }

  /** Lets the guest run, once, after the stages were entered; unless the user started it paused. For who launched it with `until`. */
  async letRun(): Promise<void> {
    this.#assertAlive();
    await this.#parts.adapter.letRun(this.vmm);
  }

  async #enterNow(stage: string): Promise<EnforcementReport> {
    this.#assertAlive();
    const target = this.stages.indexOf(stage);
    if (target < 0)
      throw new RatchetError('STAGE_UNKNOWN', `the profile has no stage ${stage}`, {
        next: `it has ${this.stages.join(', ')}`,
      });
    if (target <= this.#engine.epoch)
      throw new RatchetError('STAGE_BACKWARDS', `the VMM is in stage ${this.stage} and cannot go to ${stage}`, {
        next: 'stages only tighten; start a new VM',
      });
    const labels = this.#roles.labels();
    let entered = await this.#enterNext();
    // Every stage in between is installed too: a program may be a delta against the one before.
    while (this.#engine.epoch < target) entered = await this.#enterNext();
    return await this.#report(await labels, entered);
  }

  async #enterNext(): Promise<{ readonly verification: Verification }> {
    try {
      const { stoppedMicroseconds, verification } = await this.#engine.enterNext();
      this.events.emit('stage', { stage: this.stage, threads: verification.threads.length, stoppedMicroseconds });
      return { verification };
    } catch (error) {
      if (this.#ended) throw this.#isGone(error);
      // What is left of its end is told to whoever closes it.
      if (!(error instanceof NothingChanged)) await this.kill().catch(() => undefined);
      // The VMM's end may be seen first by its monitor, or by a look at its threads.
      throw ['QMP_CLOSED', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '') ? this.#isGone(error) : error;
    }
  }

  /** A pid that is free again must not be looked at. */
  #assertAlive(): void {
    if (this.#ended) throw this.#isGone();
  }

  #isGone(cause?: unknown): RatchetError {
    return new RatchetError('VMM_EXITED', `${basename(this.#parts.path)} has ended`, {
      next: 'start a new VM',
      ...(cause === undefined ? {} : { cause }),
    });
  }

  /** Reads every thread again and compares the installed programs with the compiled ones. Never throws for a miss: the report says `ok: false`. */
  async attest(): Promise<EnforcementReport> {
    return await this.#engine.inTurn(async () => {
      const labels = await this.#roles.labels();
      try {
        this.#assertAlive();
        return await this.#report(labels, { verification: await this.#engine.verify() });
      } catch (error) {
        return await this.#report(labels, { failure: error as Error });
      }
    });
  }

  async #report(
    labels: ReadonlyMap<number, string>,
    found: { readonly verification: Verification } | { readonly failure: Error },
  ): Promise<EnforcementReport> {
    const { layers } = this.#parts;
    const { waitKillable, signalScope } = this.#parts.process;
    await this.#broker.settled;
    const roles = this.#parts.compiled.stages.flatMap(({ roles }) => Object.keys(roles));
    return makeReport({
      pid: this.pid,
      profile: this.#parts.source,
      inheritedFilters: this.#parts.inheritedFilters,
      stage: this.stage,
      labels,
      roles: [...new Set(roles)].filter((role) => this.#engine.hasRole(role)),
      waitKillable,
      signalScope,
      broker: this.#broker.attest(),
      layers: layers === undefined || this.#ended ? [] : attestLayers(layers, this.pid, this.#engine),
      soak: this.#resolvedStage.soak === true,
      records: this.#records,
      ...found,
    });
  }

  async status(): Promise<SandboxStatus> {
    const roles = await this.#roles.labels();
    const broker = await this.#broker.status();
    return {
      pid: this.pid,
      vmm: basename(this.#parts.path),
      stage: this.stage,
      stages: this.stages,
      threads: (this.#ended ? [] : readTasks(this.pid)).map(({ tid, name, filters }) => ({
        tid,
        name,
        role: roles.get(tid) ?? 'worker',
        filters,
      })),
      broker: {
        pid: this.#parts.broker.current.pid,
        alive: this.#broker.alive,
        ...this.#broker.counts,
        pending: broker?.pending ?? 0,
        restarts: this.#parts.broker.replaced,
      },
      programs: broker?.programs ?? [],
      grants: broker?.grants ?? [],
      mayGrant: broker?.mayGrant ?? [],
    };
  }

  /** A connected stream socket, made by the broker. @throws RatchetError REQUEST_REFUSED, REQUEST_FAILED, BROKER_DIED. */
  connect(address: string): Promise<OwnedFd> {
    return this.#parts.broker.current.client.connect(address);
  }

  /** A bound socket; it listens when `backlog` is above 0. */
  bind(address: string, backlog: number): Promise<OwnedFd> {
    return this.#parts.broker.current.client.bind(address, { backlog });
  }

  /** An open file. `create` makes it (mode 0600). */
  open(path: string, access: 'ro' | 'rw' | 'wo' = 'ro', options: { readonly create?: boolean } = {}): Promise<OwnedFd> {
    return this.#parts.broker.current.client.open(path, access, options);
  }

  /** A tap device that is up; `NAME@BRIDGE` puts it into a bridge. */
  tap(name: string, options: TapOptions = {}): Promise<{ readonly fd: OwnedFd; readonly name: string }> {
    return this.#parts.broker.current.client.tap(name, options);
  }

  /**
   * Runs one of the profile's `programs`, which an `exec` rule must grant. `input` and `output` are files in place of its streams, granted by `open` rules.
   * It is killed when it has run for too long, when what permitted it ends, and with its broker or the VM.
   * @throws RatchetError REQUEST_REFUSED, REQUEST_FAILED, BROKER_TIMEOUT, BROKER_DIED.
   */
  async exec(program: string, options: ExecOptions = {}): Promise<RunningProgram> {
    const { client } = this.#parts.broker.current;
    const result = await client.exec(program, options);
    return new RunningProgram(result, this.#parts.programs.exited(client, result.number));
  }

  /** The broker's requests that have no name of their own: devices by number, memory, terminals, pairs. Gone and another one after a restart of the broker. */
  get broker(): BrokerClient {
    return this.#parts.broker.current.client;
  }

  /**
   * Grants the broker more, within what the profile lets the launcher grant in this stage (`may-grant`). Revoke it, or dispose of it.
   * @throws RatchetError REQUEST_REFUSED, ADDRESS_INVALID, STAGE_UNKNOWN, BROKER_DIED.
   */
  async grant(options: RuntimeGrantOptions): Promise<RuntimeGrant> {
    return await grantMore(this.#granting, options);
  }

  /** False when it had ended before. */
  async revoke(grant: number): Promise<boolean> {
    return await this.#parts.broker.current.client.revoke(grant);
  }

  /** For one operation of the adapter. What the profile grants for good needs no grant, and what it lets nobody grant is refused by the request itself. */
  async lease(lease: Lease): Promise<AsyncDisposable> {
    return await grantLease(this.#granting, lease);
  }

  /** For the adapter: the VMM's own TCP connections to the address, to set their options. */
  ownConnections(address: string): readonly OwnedFd[] {
    this.#assertAlive();
    return ownConnections({ pid: this.pid, pidfd: this.#parts.process.pidfd.fd }, address);
  }

  get #granting(): Granting {
    const { profile, broker } = this.#parts;
    return { client: () => broker.current.client, profile, epoch: this.#engine.epoch, vmm: this.vmm };
  }

  /** Asks the VMM's process to end (SIGTERM). */
  terminate(): void {
    if (!this.#ended) signalByPidfd(this.#parts.process.pidfd, constants.signals.SIGTERM);
  }

  /** Ends the VMM at once. Who does not wait for it need not catch its failure. @throws as `close()`. */
  kill(): Promise<void> {
    if (!this.#ended) killByPidfd(this.#parts.process.pidfd);
    return this.#released;
  }

  /**
   * Asks the VMM to quit, kills it if it does not within five seconds, and ends the broker. May be called twice. Who does not wait for it need not catch its failure.
   * @throws RatchetError CGROUP_FAILED, REQUEST_FAILED when something that served it does not end; everything else has been ended then.
   */
  close(): Promise<void> {
    if (this.#closed === undefined) {
      this.#closed = this.#closeNow();
      this.#closed.catch(() => undefined);
    }
    return this.#closed;
  }

  async #closeNow(): Promise<void> {
    const quitMs = 5000;
    const timer = setTimeout(() => void this.kill(), quitMs);
    if (!this.#ended) await this.vmm.quit().catch(() => void this.kill());
    await this.exited;
    clearTimeout(timer);
    await this.#released;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** The broker knows no roles and no features; a refusal gets them here. */
  #completed(event: BrokerEvent): SandboxEvent {
    if (event.type !== 'refusal') return event;
    const role = event.role ?? this.#roles.lastKnown(event.tid);
    return completeRefusal(event, { role, arch: this.#parts.profile.arch, featuresFor: this.#parts.featuresFor });
  }

  /** Ends what served the VMM. Events come in order: what the broker still had to tell, then the exit, then nothing. */
  async #onExit(status: ExitStatus): Promise<void> {
    this.#ended = true;
    this.#parts.process.pidfd.close();
    this.vmm.close();
    for (const emptier of this.#parts.layers?.emptiers.values() ?? []) await emptier[Symbol.asyncDispose]();
    // Before the broker: it hears of their ends, and nothing outlives the VM.
    const stuck = await this.#parts.programs.close().catch((error: unknown) => error);
    const left =
      (await this.#parts.layers?.cgroup?.end(this.#parts.deadlineMs).catch((error: unknown) => error)) ?? stuck;
    await this.#parts.broker.end();
    await this.#brokerFollowed;
    const words = `${basename(this.#parts.path)} ${describeExit(status)}`;
    if (status.signal === 'SIGSYS') {
      const explained = await this.#records.explainDeath();
      this.events.emit('violation', {
        pid: this.pid,
        stage: this.stage,
        what: 'killed-by-filter',
        ...explained,
        words: `${words}: ${explained.words}`,
      });
    }
    this.#records.close();
    this.events.emit('exit', { pid: this.pid, ...status, words });
    this.events.close();
    if (left !== undefined) throw left;
  }
}
