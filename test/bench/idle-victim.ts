// SPDX-License-Identifier: Apache-2.0
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { native } from '../../native/index.ts';
import { buildProgram } from '../native/build-program.ts';

/** A process with a number of threads that do nothing. */
export class IdleVictim implements AsyncDisposable {
  readonly pid: number;
  readonly pidfd: number;
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess, pid: number) {
    this.#child = child;
    this.pid = pid;
    this.pidfd = native.openPidfd({ pid, thread: false });
  }

  static async start(program: string, threads: number): Promise<IdleVictim> {
    const child = spawn(program, [String(threads)], { stdio: ['pipe', 'pipe', 'inherit'] });
    if (child.stdout === null || child.pid === undefined) throw new Error(`${program} did not start`);
    // It writes when all its threads are there.
    await once(child.stdout, 'data');
    return new IdleVictim(child, child.pid);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    native.closeFd({ fd: this.pidfd });
    const ended = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await ended;
  }
}

export function buildBenchVictim(): string {
  return buildProgram('idle');
}
