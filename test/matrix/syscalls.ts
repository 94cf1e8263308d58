// SPDX-License-Identifier: Apache-2.0
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { readTasks } from '../../core/stages/tasks.ts';
import { statusField, waitFor } from '../launch/processes.ts';
import type { Vm } from './vm.ts';

interface Trace {
  readonly strace: ChildProcess;
  readonly file: string;
  readBytes: number;
}

/** Follows VMs with strace and tells which system calls they made. A VM that is watched cannot be moved to another stage. */
export class SyscallRecorder implements AsyncDisposable {
  readonly #folder: string;
  readonly #traces = new Map<Vm, Trace>();

  constructor(folder: string) {
    this.#folder = folder;
  }

  /** Resolves when every task is followed. */
  async watch(vm: Vm): Promise<void> {
    const known = this.#traces.get(vm);
    if (known !== undefined) {
      known.readBytes = statSync(known.file).size;
      return;
    }
    const { pid } = vm.sandbox;
    const file = join(this.#folder, `strace-${pid}`);
    const strace = spawn('strace', ['-f', '-qq', '-s', '0', '-p', `${pid}`, '-o', file], { stdio: 'ignore' });
    await waitFor('strace on every task', () =>
      readTasks(pid).every(({ tid }) => statusField(tid, 'TracerPid') === `${strace.pid}`),
    );
    this.#traces.set(vm, { strace, file, readBytes: 0 });
  }

  /** The names of the calls since the row began, of all VMs. */
  take(): readonly string[] {
    const names = new Set<string>();
    for (const trace of this.#traces.values()) {
      const text = readFileSync(trace.file).subarray(trace.readBytes);
      trace.readBytes += text.length;
      for (const [, name] of text.toString('latin1').matchAll(/^\d+ +(\w+)\(/gm)) names.add(name ?? '');
    }
    return [...names].sort();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { strace } of this.#traces.values()) {
      if (strace.exitCode !== null || strace.signalCode !== null) continue;
      strace.kill('SIGINT');
      await once(strace, 'exit');
    }
  }
}
