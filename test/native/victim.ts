// SPDX-License-Identifier: Apache-2.0
// Starts a program of programs/victim and talks to it.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readdirSync, readFileSync, renameSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { type Inspection, native } from '../../native/index.ts';
import { packagePath } from '../../native/package-path.ts';
import { buildProgram } from './build-program.ts';
import { everyones } from './everyones.ts';

/** A filter that allows everything. */
export const allowAll = Buffer.from('060000000000ff7f', 'hex');

export interface ThreadFacts {
  readonly tid: number;
  readonly state: string;
  readonly tracer: number;
  readonly mode: number;
  readonly filters: number;
}

export class Victim {
  readonly child: ChildProcess;
  /** The process or thread that the victim said it is about. */
  readonly pid: number;
  readonly pidfd: number;
  readonly #lines: AsyncIterator<string>;

  private constructor(child: ChildProcess, pid: number, lines: AsyncIterator<string>) {
    this.child = child;
    this.pid = pid;
    this.#lines = lines;
    this.pidfd = native.openPidfd({ pid: this.#isLeader() ? pid : (child.pid as number), thread: false });
  }

  static async start(name: string, options: { program?: string; uid?: number } = {}): Promise<Victim> {
    const built = options.program ?? buildProgram('victim');
    const program = options.uid === undefined ? built : everyones(built);
    const identity = options.uid === undefined ? {} : { uid: options.uid, gid: options.uid };
    const child = spawn(program, [name], { stdio: ['pipe', 'pipe', 'inherit'], ...identity });
    const lines = createInterface({ input: child.stdout as NodeJS.ReadableStream })[Symbol.asyncIterator]();
    const first = await lines.next();
    const ready = /^ready (\d+)$/.exec(String(first.value));
    if (ready === null) throw new Error(`victim ${name} began with: ${first.value}`);
    return new Victim(child, Number(ready[1]), lines);
  }

  inject(program: Buffer = allowAll): ReturnType<typeof native.injectFilter> {
    return native.injectFilter({ pid: this.#process(), pidfd: this.pidfd, program, deadlineMs: 10_000 });
  }

  inspect(deadlineMs = 10_000): Inspection {
    return native.inspectThreads({ pid: this.pid, pidfd: this.pidfd, patienceMs: 0, deadlineMs });
  }

  /** Gives every thread a filter, each by itself. */
  injectByThread(program: Buffer = allowAll): ReturnType<typeof native.injectByThread> {
    const wanted = { programs: [program], threads: [], others: [0], together: -1, ruleset: -1, deadlineMs: 10_000 };
    return native.injectByThread({ pid: this.#process(), pidfd: this.pidfd, ...wanted });
  }

  /** Threads that were not sent through user mode, since they wait for a supervisor. */
  quiesce(): readonly number[] {
    return this.inspect()
      .threads.filter(({ visit }) => visit === 'waiting')
      .map(({ tid }) => tid);
  }

  /** Every thread that runs program code. */
  threads(): ThreadFacts[] {
    return readdirSync(`/proc/${this.pid}/task`)
      .map(Number)
      .map((tid) => threadFacts(this.pid, tid))
      .filter((facts) => facts !== undefined)
      .filter(({ state }) => state !== 'Z' && state !== 'X');
  }

  filters(): number[] {
    return [...new Set(this.threads().map(({ filters }) => filters))];
  }

  /** All threads wait in a system call. */
  async asleep(): Promise<void> {
    while (this.threads().some(({ state }) => state !== 'S')) await nextTurn();
  }

  /** Tells the victim to end, and gives its judgement: "ok" or what was wrong. */
  async end(): Promise<string> {
    this.child.stdin?.write('q');
    return this.judgement();
  }

  /** What it says at its end. */
  async judgement(): Promise<string> {
    const line = await this.#lines.next();
    return line.done === true ? `ended without a word, signal ${this.child.signalCode}` : line.value;
  }

  /** How it ended by itself. */
  async ended(): Promise<NodeJS.Signals | number | null> {
    if (this.child.exitCode === null && this.child.signalCode === null) await once(this.child, 'exit');
    return this.child.signalCode ?? this.child.exitCode;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    native.closeFd({ fd: this.pidfd });
    this.child.kill('SIGKILL');
    await this.ended();
  }

  #process(): number {
    return this.#isLeader() ? this.pid : (this.child.pid as number);
  }

  #isLeader(): boolean {
    return readFileSync(`/proc/${this.pid}/status`, 'utf8').includes(`\nTgid:\t${this.pid}\n`);
  }
}

/** A process's mappings, as the kernel lists them. */
export function mappings(pid: number): string {
  return readFileSync(`/proc/${pid}/maps`, 'utf8');
}

export function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function threadFacts(pid: number, tid: number): ThreadFacts | undefined {
  let status: string;
  try {
    status = readFileSync(`/proc/${pid}/task/${tid}/status`, 'utf8');
  } catch {
    // It ended.
    return undefined;
  }
  const field = (name: string) => new RegExp(`^${name}:\\s+(\\S+)`, 'm').exec(status)?.[1] ?? '';
  return {
    tid,
    state: field('State'),
    tracer: Number(field('TracerPid')),
    mode: Number(field('Seccomp')),
    filters: Number(field('Seccomp_filters')),
  };
}

/** The victims as a static program. */
export function buildStaticVictim(): string {
  const program = packagePath('build/test/victim-static');
  mkdirSync(packagePath('build/test'), { recursive: true });
  const folder = packagePath('test/native/programs/victim');
  const sources = readdirSync(folder)
    .filter((file) => file.endsWith('.c'))
    .map((file) => join(folder, file));
  execFileSync('cc', ['-O2', '-static', '-D_GNU_SOURCE', '-pthread', '-o', program, ...sources], { stdio: 'inherit' });
  return program;
}

/** `programs/tighten-fault.cc` with the engine that it tests. Built unless it is newer than all of it: this takes a while. */
export function buildFaultProgram(): string {
  const program = packagePath('build/test/tighten-fault');
  const layer = readdirSync(packagePath('native/sys')).map((file) => packagePath(`native/sys/${file}`));
  const main = packagePath('test/native/programs/tighten-fault.cc');
  const builtMs = statSync(program, { throwIfNoEntry: false })?.mtimeMs ?? 0;
  if ([main, ...layer].every((file) => statSync(file).mtimeMs < builtMs)) return program;
  mkdirSync(packagePath('build/test'), { recursive: true });
  const engine = layer.filter((file) => /\/(tighten.*|processes|proc_files)\.cc$/.test(file));
  const flags = ['-std=c++20', '-g', '-fsanitize=undefined', '-fno-sanitize-recover', '-D_GNU_SOURCE', '-pthread'];
  const include = `-I${packagePath('native')}`;
  const unfinished = `${program}.${process.pid}`;
  execFileSync('g++', [...flags, include, '-o', unfinished, main, ...engine], { stdio: 'inherit' });
  renameSync(unfinished, program);
  return program;
}
