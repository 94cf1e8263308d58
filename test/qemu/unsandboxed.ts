// SPDX-License-Identifier: Apache-2.0
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Readable } from 'node:stream';
import { GuestConsole } from '../../core/demo/guest-console.ts';
import { OwnedFd } from '../../core/owned-fd.ts';
import { prepareArguments } from '../../core/qemu/arguments.ts';
import { Qemu } from '../../core/qemu/qemu.ts';
import { native } from '../../native/index.ts';
import { directFdSource } from './direct-fd-source.ts';

/** A QEMU without any confinement, for tests of the adapter alone. */
export interface UnsandboxedQemu extends AsyncDisposable {
  readonly qemu: Qemu;
  readonly child: ChildProcess;
  readonly console: GuestConsole;
  /** What it has written to stderr so far. */
  stderr(): string;
}

/** Starts QEMU with our monitor and waits until its machine is built. */
export async function startQemu(args: readonly string[]): Promise<UnsandboxedQemu> {
  const monitorNumber = 3;
  const [ours, theirs] = native.socketPair({ type: 'stream' });
  using monitor = new OwnedFd(theirs);
  const child = spawn('qemu-system-x86_64', [...prepareArguments(args, { qmpFd: monitorNumber }).args], {
    stdio: ['ignore', 'pipe', 'pipe', monitor.fd],
  });
  // The last copy is QEMU's then, so that we see when it ends.
  monitor.close();
  const [, stdout, stderr] = child.stdio as unknown as [null, Readable, Readable];
  const closed = once(child, 'close');
  let words = '';
  stderr.setEncoding('utf8').on('data', (chunk: string) => {
    words += chunk;
  });
  const started: UnsandboxedQemu = {
    qemu: new Qemu(ours, directFdSource()),
    child,
    console: new GuestConsole(stdout),
    stderr: () => words,
    [Symbol.asyncDispose]: async () => {
      started.qemu.close();
      child.kill('SIGKILL');
      // Its last words included.
      await closed;
    },
  };
  try {
    await started.qemu.waitUntilBuilt();
  } catch (error) {
    await started[Symbol.asyncDispose]();
    throw new Error(`QEMU did not start: ${words}`, { cause: error });
  }
  return started;
}

/** The smallest machine that there is: no firmware runs unless it is let. */
export const bareArguments: readonly string[] = [
  '-no-user-config',
  '-nodefaults',
  '-machine',
  'pc,accel=tcg',
  '-display',
  'none',
];
