// SPDX-License-Identifier: Apache-2.0
import type { ExecResult } from '../broker/client.ts';
import type { ExitStatus } from '../launch/exit-status.ts';
import { killByPidfd } from '../launch/kill.ts';
import type { OwnedFd } from '../owned-fd.ts';

/** A program that runs for the VM. Its streams are the caller's to close or to hand on; disposing of it kills it and closes them. */
export class RunningProgram implements AsyncDisposable {
  readonly pid: number;
  /** Ours of its streams, as far as they are no files: its stdin, its stdout, or the one socket that is both. */
  readonly stdin: OwnedFd | undefined;
  readonly stdout: OwnedFd | undefined;
  readonly socket: OwnedFd | undefined;
  /** Settles with its status when it has ended. Never rejects. */
  readonly exited: Promise<ExitStatus>;
  readonly #pidfd: OwnedFd;

  constructor({ pid, pidfd, streams }: ExecResult, exited: Promise<ExitStatus>) {
    this.pid = pid;
    this.stdin = streams.stdin;
    this.stdout = streams.stdout;
    this.socket = streams.socket;
    this.exited = exited;
    this.#pidfd = pidfd;
    void exited.then(() => pidfd.close());
  }

  /** SIGKILL, to this process and no other. */
  async kill(): Promise<void> {
    try {
      killByPidfd(this.#pidfd);
    } catch {
      // The pidfd was closed with its end.
    }
    await this.exited;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    for (const fd of [this.stdin, this.stdout, this.socket]) fd?.close();
  }
}
