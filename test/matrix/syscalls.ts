// SPDX-License-Identifier: Apache-2.0
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { parseStraceLine, type TracedCall } from '../../core/learn/strace.ts';
import { readTasks } from '../../core/stages/tasks.ts';
import { statusField, waitFor } from '../launch/processes.ts';
import type { Vm } from './vm.ts';

interface Trace {
  readonly strace: ChildProcess;
  readonly file: string;
  readBytes: number;
}

const madeThread = /^(\d+) +(?:clone\(|<\.\.\. clone resumed>).*= 0x([0-9a-f]+)$/gm;

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
    const strace = spawn('strace', ['-f', '-qq', '-e', 'raw=all', '-p', `${pid}`, '-o', file], { stdio: 'ignore' });
    await waitFor('strace on every task', () =>
      readTasks(pid).every(({ tid }) => statusField(tid, 'TracerPid') === `${strace.pid}`),
    );
    this.#traces.set(vm, { strace, file, readBytes: 0 });
  }

  /** The names of the calls since the row began, of all VMs. */
  take(): readonly string[] {
    const names = [...this.#traces.values()].flatMap((trace) =>
      [...unread(trace).matchAll(/^\d+ +(\w+)\(/gm)].map(([, name = '']) => name),
    );
    return [...new Set(names)].sort();
  }

  /** The calls since the row began, each with the VM that made it. */
  takeCalls(): readonly (TracedCall & { readonly vm: Vm })[] {
    return [...this.#traces].flatMap(([vm, trace]) =>
      unread(trace)
        .split('\n')
        .flatMap((line) => {
          const call = parseStraceLine(line);
          return call === undefined ? [] : [{ ...call, vm }];
        }),
    );
  }

  /** Which thread made which, of all VMs: a thread has the filters of the one that made it. */
  parents(): ReadonlyMap<number, number> {
    const found = new Map<number, number>();
    for (const { file } of this.#traces.values())
      for (const [, parent, child] of readFileSync(file, 'latin1').matchAll(madeThread))
        found.set(Number.parseInt(child ?? '', 16), Number(parent));
    return found;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { strace } of this.#traces.values()) {
      if (strace.exitCode !== null || strace.signalCode !== null) continue;
      strace.kill('SIGINT');
      await once(strace, 'exit');
    }
  }
}

function unread(trace: Trace): string {
  const text = readFileSync(trace.file).subarray(trace.readBytes);
  trace.readBytes += text.length;
  return text.toString('latin1');
}
