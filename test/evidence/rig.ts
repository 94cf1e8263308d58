// SPDX-License-Identifier: Apache-2.0
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { GuestConsole } from '../../core/demo/guest-console.ts';
import { launch } from '../../core/launch/launch.ts';
import type { LaunchOptions } from '../../core/launch/options.ts';
import type { Sandbox } from '../../core/launch/sandbox.ts';
import { parseStraceLine, type TracedCall } from '../../core/learn/strace.ts';
import { readTasks } from '../../core/stages/tasks.ts';

export interface Machine {
  readonly sandbox: Sandbox;
  readonly console: GuestConsole;
}

export interface RigOptions {
  readonly profile: Readonly<Record<string, unknown>>;
  readonly features: readonly string[];
  /** The stage in which the machines run. */
  readonly until: string;
  /** Write down every call that is made in that stage. */
  readonly traced: boolean;
}

/** Machines of one scenario, all with the same profile, and what they called. */
export class Rig implements AsyncDisposable {
  readonly folder = mkdtempSync(join(tmpdir(), 'ratchet-evidence-'));
  readonly options: RigOptions;
  readonly #machines: Sandbox[] = [];
  readonly #traces: { readonly file: string; readonly strace: ChildProcess; readonly roles: Map<number, string> }[] =
    [];

  constructor(options: RigOptions) {
    this.options = options;
  }

  /** A machine that runs, or waits for its guest to come in. */
  async start(args: readonly string[], more: Pick<LaunchOptions, 'allow' | 'inherit'> = {}): Promise<Machine> {
    const { profile, features, until, traced } = this.options;
    const sandbox = await launch({
      command: ['qemu-system-x86_64', ...args, ...(traced ? ['-S'] : [])],
      profile,
      features,
      until,
      ...more,
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.#machines.push(sandbox);
    const console = new GuestConsole(sandbox.stdout);
    if (traced) {
      await this.#trace(sandbox);
      if (!args.includes('-incoming')) await sandbox.vmm.cont();
    }
    return { sandbox, console };
  }

  /** Which threads are what, as far as QEMU tells now. */
  async noteRoles(): Promise<void> {
    for (const [index, sandbox] of this.#machines.entries())
      for (const [tid, role] of await sandbox.vmm.threadRoles().catch(() => new Map<number, string>()))
        this.#traces[index]?.roles.set(tid, role);
  }

  async #trace(sandbox: Sandbox): Promise<void> {
    const file = join(this.folder, `trace-${this.#traces.length}`);
    const strace = spawn('strace', ['-f', '-qq', '-e', 'raw=all', '-o', file, '-p', String(sandbox.pid)], {
      stdio: ['ignore', 'ignore', 'ignore'],
    });
    this.#traces.push({ file, strace, roles: new Map() });
    const isTraced = (tid: number): boolean =>
      new RegExp(`^TracerPid:\\s+${strace.pid}$`, 'm').test(readFileSync(`/proc/${tid}/status`, 'utf8'));
    while (!readTasks(sandbox.pid).every(({ tid }) => isTraced(tid))) await new Promise((next) => setImmediate(next));
  }

  /** Ends the machines; what each thread called, with its role. */
  async calls(): Promise<readonly (TracedCall & { readonly role: string })[]> {
    await this.noteRoles();
    for (const sandbox of this.#machines.splice(0)) await sandbox.close();
    for (const { strace } of this.#traces) if (strace.exitCode === null) await once(strace, 'exit');
    return this.#traces.flatMap(({ file, roles }) =>
      readFileSync(file, 'utf8')
        .split('\n')
        .flatMap((line) => {
          const call = parseStraceLine(line);
          return call === undefined ? [] : [{ ...call, role: roles.get(call.tid ?? 0) ?? 'worker' }];
        }),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const sandbox of this.#machines.splice(0)) await sandbox.kill();
    for (const { strace } of this.#traces) if (strace.exitCode === null) strace.kill('SIGKILL');
    rmSync(this.folder, { recursive: true, force: true });
  }
}
