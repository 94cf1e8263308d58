// SPDX-License-Identifier: Apache-2.0
import { type ChildProcess, type SpawnOptions, spawn, spawnSync } from 'node:child_process';
import { packagePath } from '../../native/package-path.ts';
import { bareArguments } from '../qemu/unsandboxed.ts';

const main = packagePath('dist/core/cli/main.js');

export interface Answer {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** The built command, to its end. */
export function ratchet(...args: readonly string[]): Answer {
  const { status, stdout, stderr } = spawnSync(process.execPath, [main, ...args], { encoding: 'utf8' });
  return { status, stdout, stderr };
}

/** As `ratchet`, without holding up this process: for commands that talk with it. */
export async function ratchetAsync(...args: readonly string[]): Promise<Answer> {
  return await startRatchet(args).ended;
}

export interface Started {
  readonly child: ChildProcess;
  readonly pid: number;
  readonly stdout: () => string;
  readonly stderr: () => string;
  /** With the status as a shell would give it; undefined for a signal. */
  readonly ended: Promise<Answer>;
}

/** @param wrapper a command line to put before the command, such as `unshare --net --`. */
export function startRatchet(
  args: readonly string[],
  wrapper: readonly string[] = [],
  options: SpawnOptions = {},
): Started {
  const [program = '', ...rest] = [...wrapper, process.execPath, main, ...args];
  const child = spawn(program, rest, { stdio: ['ignore', 'pipe', 'pipe'], ...options });
  let stdout = '';
  let stderr = '';
  child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
    stdout += chunk;
  });
  child.stderr?.setEncoding('utf8').on('data', (chunk: string) => {
    stderr += chunk;
  });
  return {
    child,
    pid: child.pid ?? 0,
    stdout: () => stdout,
    stderr: () => stderr,
    ended: new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (status) => resolve({ status, stdout, stderr }));
    }),
  };
}

export const bareVmm = ['--', 'qemu-system-x86_64', ...bareArguments] as const;
