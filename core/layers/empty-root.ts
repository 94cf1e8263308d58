// SPDX-License-Identifier: Apache-2.0
import { type ChildProcess, spawn } from 'node:child_process';
import { packagePath } from '../../native/package-path.ts';
import { RatchetError } from '../errors.ts';
import { within } from './root-plan.ts';
import { readMounts } from './verify-root.ts';

/** CLONE_NEWNS, and with CLONE_NEWUSER that of a launcher without root. */
const mountNamespace = 0x0002_0000;
const userNamespace = 0x1000_0000;

/**
 * Waits to take what a stage does not keep out of a process's minimal root, from outside (native/stager/empty_root.h). Made when that process is: a new process costs Node some
 * milliseconds, which a stage would have to wait for. Ends with whoever made it.
 */
export class RootEmptier implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #ended: Promise<number | string | null>;
  readonly #said: Buffer[] = [];

  constructor({ pidfd, ownUsers }: { readonly pidfd: number; readonly ownUsers: boolean }) {
    const bits = mountNamespace | (ownUsers ? userNamespace : 0);
    const inherited = 3;
    this.#child = spawn(
      packagePath('build/Release/ratchet-stager'),
      ['--empty-root', String(inherited), String(bits)],
      { stdio: ['pipe', 'ignore', 'pipe', pidfd], env: {} },
    );
    this.#child.stderr?.on('data', (chunk: Buffer) => this.#said.push(chunk));
    // It has ended then, and its status is told.
    this.#child.stdin?.on('error', () => undefined);
    this.#ended = new Promise((resolve) => {
      this.#child.once('error', (error) => resolve(error.message));
      this.#child.once('close', (code, signal) => resolve(code ?? signal));
    });
  }

  /** All but what is `kept`, once. @throws RatchetError VERIFICATION_FAILED. */
  async empty(pid: number, kept: readonly string[], deadlineMs: number): Promise<void> {
    const mounts = readMounts(pid)
      .map(({ point }) => point)
      .filter((point) => point !== '/' && !kept.some((each) => within(point, each)));
    this.#child.stdin?.end([...mounts, ''].map((point) => `${point}\0`).join(''));
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), deadlineMs);
    const status = await this.#ended;
    clearTimeout(timer);
    if (status === 0) return;
    const told = Buffer.concat(this.#said).toString('utf8').trim() || `status ${status}`;
    throw new RatchetError('VERIFICATION_FAILED', `the root of ${pid} could not be emptied: ${told}`, {
      next: 'the VMM was killed; this is a bug, or somebody else has mounted something there',
    });
  }

  /** When the process has ended there is nothing to empty, and nobody waits for a helper that somebody has stopped. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#ended;
  }
}
