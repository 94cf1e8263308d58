// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import type { RatchetError } from '../errors.ts';
import { OwnedFd } from '../owned-fd.ts';
import { statusField } from '../stages/tasks.ts';
import { noKeeper, type ThreadKeeper } from '../vmm/thread-keeper.ts';
import type { Vmm, VmmNeed } from '../vmm/vmm.ts';
import type { FdSource } from './fd-source.ts';
import { warmUpFileLocks } from './file-locks.ts';
import { Hotplug } from './hotplug.ts';
import { cancelMigration, type MigrateOptions, type MigrationReport, migrate } from './migrate.ts';
import { type AcceptOptions, acceptMigration, contWhenArrived, type IncomingMigration } from './migrate-incoming.ts';
import { migrateFrom, migrateInto, type StreamOptions } from './migrate-stream.ts';
import { isFinal, migrationEvents } from './migration-common.ts';
import { needsOf } from './needs.ts';
import { QmpClient, type QmpClientOptions } from './qmp-client.ts';
import type { QemuVersion } from './qmp-message.ts';

/** What a thread of QEMU is for. `worker` is every thread that the monitor does not name. */
export type ThreadRole = 'main' | 'vcpu' | 'io' | 'worker';

/** Timers of Node are 32 bits wide: 24 days. */
const longestTimerMs = 2 ** 31 - 1;

/** The states in which QEMU's machine is built and no guest instruction has run (qapi/run-state.json). */
const builtStates: ReadonlySet<string> = new Set(['prelaunch', 'inmigrate', 'paused']);

/** The adapter of one QEMU process: its monitor, hotplug and migration. */
export class Qemu implements Vmm {
  readonly qmp: QmpClient;
  #version: QemuVersion | undefined;

  /** Devices added and taken away while the guest runs. */
  readonly hotplug: Hotplug;
  readonly #fds: FdSource;
  readonly #threads: ThreadKeeper;

  /**
   * @param monitorFd our end of the monitor's socket pair; owned from now on.
   * @param fds where descriptors come from: the sandbox, that is its broker.
   */
  constructor(monitorFd: number, fds: FdSource, options: QmpClientOptions & { readonly threads?: ThreadKeeper } = {}) {
    this.qmp = new QmpClient(new OwnedFd(monitorFd), options);
    this.#threads = options.threads ?? noKeeper;
    this.hotplug = new Hotplug(this.qmp, fds, this.#threads);
    this.#fds = fds;
  }

  /** Known after `waitUntilBuilt()`. */
  get version(): QemuVersion {
    if (this.#version === undefined)
      throw new Error('QEMU has not greeted its monitor yet: call waitUntilBuilt() first');
    return this.#version;
  }

  /**
   * Resolves at the barrier: machine built, vCPU threads created, nothing of the guest run. QEMU's main loop answers its monitor only then.
   * What QEMU opens at its first use of a disk, it has opened by then.
   */
  async waitUntilBuilt(timeoutMs?: number): Promise<void> {
    this.#version = await this.qmp.negotiate(timeoutMs);
    const { status } = await this.qmp.execute('query-status', {});
    if (!builtStates.has(status)) throw new Error(`QEMU runs its guest already (${status}): it was started without -S`);
    await warmUpFileLocks(this.qmp);
  }

  async needs(): Promise<readonly VmmNeed[]> {
    return await needsOf(this.qmp, this.version);
  }

  /** Lets the guest run. */
  async cont(): Promise<void> {
    await this.#threads.beforeRunning();
    await this.qmp.execute('cont', {});
  }

  async stop(): Promise<void> {
    await this.qmp.execute('stop', {});
  }

  /** Asks QEMU to end. Resolves when it took the order, or is gone. */
  async quit(): Promise<void> {
    try {
      await this.qmp.execute('quit', {});
    } catch (error) {
      if ((error as RatchetError).code !== 'QMP_CLOSED') throw error;
    }
  }

  async status(): Promise<{ readonly status: string; readonly running: boolean }> {
    return await this.qmp.execute('query-status', {});
  }

  /** Thread ids of the vCPUs as this process sees them, by vCPU index. */
  async vcpuThreads(): Promise<readonly number[]> {
    const cpus = await this.qmp.execute('query-cpus-fast', {}, { question: true });
    return cpus
      .toSorted((a, b) => a['cpu-index'] - b['cpu-index'])
      .map((cpu) => this.#threads.fromOwn(cpu['thread-id']));
  }

  /** Thread ids of the iothread objects, by their ids. */
  async ioThreads(): Promise<ReadonlyMap<string, number>> {
    const threads = await this.qmp.execute('query-iothreads', {}, { question: true });
    return new Map(threads.map((thread) => [thread.id, this.#threads.fromOwn(thread['thread-id'])]));
  }

  /** Roles of the threads that have one, by thread id. Names come from QEMU itself, so they are a description and no proof. */
  async threadRoles(): Promise<ReadonlyMap<number, ThreadRole>> {
    const [vcpus, ioThreads] = await Promise.all([this.vcpuThreads(), this.ioThreads()]);
    const roles = new Map<number, ThreadRole>();
    for (const tid of ioThreads.values()) roles.set(tid, 'io');
    for (const tid of vcpus) roles.set(tid, 'vcpu');
    const leader = vcpus[0] === undefined ? undefined : leaderOf(vcpus[0]);
    if (leader !== undefined) roles.set(leader, 'main');
    return roles;
  }

  /** Runs a line of the human monitor and returns what it printed. */
  async hmp(commandLine: string): Promise<string> {
    return await this.qmp.execute('human-monitor-command', { 'command-line': commandLine });
  }

  /** Migrates this VM away; see `migrate()`. */
  async migrate(to: string, options: MigrateOptions = {}): Promise<MigrationReport> {
    return await migrate(this.qmp, this.#fds, to, options);
  }

  /** Makes a QEMU that was started with `-incoming defer` listen; see `acceptMigration()`. */
  async acceptMigration(address: string, options: AcceptOptions = {}): Promise<IncomingMigration> {
    return await acceptMigration(this, this.#fds, address, options);
  }

  /** Migrates this VM into a stream that goes one way, such as the stdin of a program that packs it; see `migrateInto()`. */
  async migrateInto(stream: OwnedFd, options: StreamOptions = {}): Promise<MigrationReport> {
    return await migrateInto(this.qmp, stream, options);
  }

  /** Lets in what such a stream holds, in a QEMU that was started with `-incoming defer`; see `migrateFrom()`. */
  async migrateFrom(stream: OwnedFd, options: StreamOptions & { readonly paused?: boolean } = {}): Promise<void> {
    await migrateFrom(this.qmp, stream, options);
  }

  /** For a QEMU that was started with `-incoming ADDR`: lets the guest run when it has arrived. No time limit by default. */
  async contWhenArrived(timeoutMs: number = longestTimerMs): Promise<void> {
    await contWhenArrived(this.qmp, timeoutMs);
  }

  /** Calls back once when the migration under way, or the next to begin, has completed, failed or been cancelled, or QEMU has ended. Resolves when it listens. */
  async whenMigrationEnds(act: () => void): Promise<void> {
    await this.qmp.execute('migrate-set-capabilities', { capabilities: [{ capability: 'events', state: true }] });
    const events = this.qmp.subscribe(migrationEvents);
    const ended = events.next(({ data }) => isFinal(String(data.status)), longestTimerMs);
    void ended
      .catch(() => undefined)
      .then(() => {
        events.close();
        act();
      });
  }

  /** Gives up the migration under way; its `migrate()` rejects. The guest goes on here. */
  async cancelMigration(): Promise<void> {
    await cancelMigration(this.qmp);
  }

  /** Closes our end of the monitor. QEMU goes on without it. */
  close(): void {
    this.qmp.close();
  }
}

/** The process that a thread belongs to; undefined when it is gone. */
function leaderOf(tid: number): number | undefined {
  try {
    return Number(statusField(readFileSync(`/proc/${tid}/status`, 'utf8'), 'Tgid'));
  } catch {
    // The thread ended (ENOENT, ESRCH): it has no role.
    return undefined;
  }
}
