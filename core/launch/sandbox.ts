// SPDX-License-Identifier: Apache-2.0
import { basename } from 'node:path';
import type { Readable } from 'node:stream';
import { type NativeError, native } from '../../native/index.ts';
import type { CompiledProfile } from '../compiler/index.ts';
import { RatchetError } from '../errors.ts';
import type { OwnedFd } from '../owned-fd.ts';
import type { ResolvedProfile } from '../policy/types.ts';
import type { FdSource } from '../qemu/fd-source.ts';
import { Qemu } from '../qemu/qemu.ts';
import { readTasks } from '../stages/tasks.ts';
import { tighten } from '../stages/tighten.ts';
import { type InstalledProgram, verifyThreads } from '../stages/verify.ts';
import type { BrokerProcess } from './broker-process.ts';
import { EventStream } from './events.ts';
import { describeExit, type ExitStatus, exitOf } from './exit-status.ts';
import { type EnforcementReport, makeReport } from './report.ts';
import type { StagedProcess } from './stager.ts';

export interface SandboxParts {
  readonly profile: ResolvedProfile;
  readonly compiled: CompiledProfile;
  readonly path: string;
  readonly broker: BrokerProcess;
  readonly process: StagedProcess;
  /** Our end of the VMM's monitor. */
  readonly monitorFd: number;
  readonly inheritedFilters: number;
  readonly deadlineMs: number;
}

export interface SandboxStatus {
  readonly pid: number;
  readonly vmm: string;
  readonly stage: string;
  readonly stages: readonly string[];
  readonly threads: readonly {
    readonly tid: number;
    readonly name: string;
    readonly role: string;
    readonly filters: number;
  }[];
  readonly broker: { readonly pid: number; readonly alive: boolean; readonly allowed: number; readonly denied: number };
  readonly grants: readonly unknown[];
}

/** A running VMM, its broker and the stage they are in. Made by `launch()`; `await using` closes it. */
export class Sandbox implements FdSource, AsyncDisposable {
  readonly pid: number;
  /** The VMM's adapter: its monitor, hotplug and migration. */
  readonly vmm: Qemu;
  readonly events = new EventStream();
  /** Settles when the VMM has ended. */
  readonly exited: Promise<ExitStatus>;
  readonly #parts: SandboxParts;
  readonly #chain: InstalledProgram[] = [];
  #epoch = 0;
  #entering: Promise<void> = Promise.resolve();
  #brokerAlive = true;
  #ended = false;

  constructor(parts: SandboxParts) {
    this.#parts = parts;
    this.pid = parts.process.pid;
    this.vmm = new Qemu(parts.monitorFd, this);
    const first = parts.compiled.stages[0];
    if (first !== undefined) this.#chain.push({ stage: first.name, program: first.program });
    this.exited = exitOf(parts.process.child);
    void this.#followBroker();
    void this.exited.then((status) => this.#onExit(status));
  }

  /** The VMM's stdout, when it was asked for as a pipe. */
  get stdout(): Readable {
    const { stdout } = this.#parts.process.child;
    if (stdout === null) throw new RatchetError('ARGUMENT_INVALID', "the VMM's stdout was not launched as a pipe");
    return stdout;
  }

  /** Filters that every process here has from outside (a container's); the stages' come on top. */
  get inheritedFilters(): number {
    return this.#parts.inheritedFilters;
  }

  get stages(): readonly string[] {
    return this.#parts.compiled.stages.map(({ name }) => name);
  }

  get stage(): string {
    return this.stages[this.#epoch] ?? '';
  }

  /**
   * Moves the VMM to a later stage: broker first, then the filter in every thread, then the proof from outside. There is no way back.
   * The VMM is killed when any of it fails.
   * @throws RatchetError STAGE_UNKNOWN or STAGE_BACKWARDS (nothing was changed), INJECTION_FAILED or VERIFICATION_FAILED (the VMM is dead).
   */
  async enter(stage: string): Promise<EnforcementReport> {
    const turn = this.#entering.then(() => this.#enterNow(stage));
    this.#entering = turn.then(
      () => undefined,
      () => undefined,
    );
    return await turn;
  }

  async #enterNow(stage: string): Promise<EnforcementReport> {
    const target = this.stages.indexOf(stage);
    if (target < 0)
      throw new RatchetError('STAGE_UNKNOWN', `the profile has no stage ${stage}`, {
        next: `it has ${this.stages.join(', ')}`,
      });
    if (target <= this.#epoch)
      throw new RatchetError('STAGE_BACKWARDS', `the VMM is in stage ${this.stage} and cannot go to ${stage}`, {
        next: 'stages only tighten; start a new VM',
      });
    // Every stage in between is installed too: a program may be a delta against the one before.
    for (let epoch = this.#epoch + 1; epoch <= target; epoch++) await this.#enterNext(epoch);
    return await this.attest();
  }

  async #enterNext(epoch: number): Promise<void> {
    const { compiled, process, broker, inheritedFilters, deadlineMs } = this.#parts;
    const next = compiled.stages[epoch];
    if (next === undefined) return;
    try {
      const { stoppedMicroseconds, verification } = await tighten({
        pid: this.pid,
        pidfd: process.pidfd.fd,
        stage: next.name,
        program: next.program,
        chain: this.#chain,
        inheritedFilters,
        moveBroker: () => broker.client.enterStage(epoch),
        deadlineMs,
      });
      this.#chain.push({ stage: next.name, program: next.program });
      this.#epoch = epoch;
      this.events.emit('stage', { stage: next.name, threads: verification.threads.length, stoppedMicroseconds });
    } catch (error) {
      await this.kill();
      throw error;
    }
  }

  /** Reads every thread again and compares the installed programs with the compiled ones. Never throws for a miss: the report says `ok: false`. */
  async attest(): Promise<EnforcementReport> {
    const roles = await this.#roles();
    const common = { pid: this.pid, stage: this.stage, roles, waitKillable: this.#parts.process.waitKillable };
    try {
      const verification = verifyThreads({
        pid: this.pid,
        inheritedFilters: this.#parts.inheritedFilters,
        chain: this.#chain,
        deadlineMs: this.#parts.deadlineMs,
      });
      return makeReport({ ...common, verification });
    } catch (error) {
      return makeReport({ ...common, failure: error as Error });
    }
  }

  async status(): Promise<SandboxStatus> {
    const roles = await this.#roles();
    const broker = this.#brokerAlive ? await this.#parts.broker.client.status() : undefined;
    return {
      pid: this.pid,
      vmm: basename(this.#parts.path),
      stage: this.stage,
      stages: this.stages,
      threads: readTasks(this.pid).map(({ tid, name, filters }) => ({
        tid,
        name,
        role: roles.get(tid) ?? 'worker',
        filters,
      })),
      broker: {
        pid: this.#parts.broker.pid,
        alive: this.#brokerAlive,
        allowed: broker?.allowed ?? 0,
        denied: broker?.denied ?? 0,
      },
      grants: broker?.grants ?? [],
    };
  }

  /** A connected stream socket, made by the broker. @throws RatchetError REQUEST_REFUSED, REQUEST_FAILED, BROKER_DIED. */
  connect(address: string): Promise<OwnedFd> {
    return this.#parts.broker.client.connect(address);
  }

  /** A bound socket; it listens when `backlog` is above 0. */
  bind(address: string, backlog: number): Promise<OwnedFd> {
    return this.#parts.broker.client.bind(address, { backlog });
  }

  open(path: string, access: 'ro' | 'rw' | 'wo' = 'ro'): Promise<OwnedFd> {
    return this.#parts.broker.client.open(path, access);
  }

  tap(name: string): Promise<{ readonly fd: OwnedFd; readonly name: string }> {
    return this.#parts.broker.client.tap(name);
  }

  /** Roles are a description only: a monitor that does not answer must not stop an attestation. */
  async #roles(): Promise<ReadonlyMap<number, string>> {
    return await this.vmm.threadRoles().catch(() => new Map());
  }

  /** Ends the VMM at once. */
  async kill(): Promise<void> {
    try {
      native.sendSignal({ pidfd: this.#parts.process.pidfd.fd, signal: 9 });
    } catch (error) {
      if ((error as NativeError).code !== 'ESRCH') throw error;
    }
    await this.exited;
    await this.#release();
  }

  /** Asks the VMM to quit, kills it if it does not within five seconds, and ends the broker. */
  async close(): Promise<void> {
    const quitMs = 5000;
    const timer = setTimeout(() => void this.kill(), quitMs);
    await this.vmm.quit().catch(() => this.kill());
    await this.exited;
    clearTimeout(timer);
    await this.#release();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #release(): Promise<void> {
    this.vmm.close();
    this.#parts.broker.client.close();
    await exitOf(this.#parts.broker.child);
    this.#parts.process.pidfd.close();
    this.events.close();
  }

  async #followBroker(): Promise<void> {
    const { client, pid } = this.#parts.broker;
    for await (const event of client.events) this.events.push(event);
    this.#brokerAlive = false;
    if (this.#ended) return;
    this.events.emit('broker', {
      what: 'ended',
      pid,
      next: 'brokered calls of the VMM now fail with ENOSYS; the VMM itself goes on',
    });
  }

  #onExit(status: ExitStatus): void {
    this.#ended = true;
    this.events.emit('exit', {
      pid: this.pid,
      ...status,
      words: `${basename(this.#parts.path)} ${describeExit(status)}`,
    });
  }
}
