// SPDX-License-Identifier: Apache-2.0
import { Socket } from 'node:net';
import { GuestConsole } from '../../core/demo/guest-console.ts';
import type { SandboxEvent } from '../../core/launch/events.ts';
import { launch } from '../../core/launch/launch.ts';
import type { LaunchOptions } from '../../core/launch/options.ts';
import { tellingRefusals } from '../../core/launch/refused-meanwhile.ts';
import type { Sandbox } from '../../core/launch/sandbox.ts';
import { OwnedFd } from '../../core/owned-fd.ts';
import { native } from '../../native/index.ts';
import { waitFor } from '../launch/processes.ts';
import { promptPattern } from './guest/linux.ts';

/** For anything that a guest under TCG does, on a loaded machine. */
export const guestMs = Number(process.env['MATRIX_GUEST_MS'] ?? 120_000);
/** Where QEMU finds the guest's serial line. */
const serialFd = 10;

export type GuestKind = 'counter' | 'linux';

/** Linux's serial driver drops letters on a loaded host; a virtio console does not. */
const lineArguments: Readonly<Record<GuestKind, readonly string[]>> = {
  counter: ['-serial', 'chardev:guest'],
  linux: ['-device', 'virtio-serial-pci,id=console', '-device', 'virtconsole,bus=console.0,chardev=guest'],
};

/** A sandboxed QEMU in stage `running` with a guest that can be asked. */
export class Vm implements AsyncDisposable {
  readonly sandbox: Sandbox;
  readonly kind: GuestKind;
  readonly console: GuestConsole;
  /** All so far, in order. */
  readonly events: SandboxEvent[] = [];
  readonly #serial: Socket;
  #ended: string | undefined;
  #mayEnd = false;

  private constructor(sandbox: Sandbox, kind: GuestKind, serial: Socket) {
    this.sandbox = sandbox;
    this.kind = kind;
    this.#serial = serial;
    this.console = new GuestConsole(serial);
    const reader = sandbox.events[Symbol.asyncIterator]();
    void (async () => {
      for (let next = await reader.next(); next.done !== true; next = await reader.next()) {
        this.events.push(next.value);
        if (next.value.type === 'exit') this.#ended = String(next.value['words']);
      }
    })();
  }

  static async start(kind: GuestKind, options: LaunchOptions): Promise<Vm> {
    const [ours, theirs] = native.socketPair({ type: 'stream' });
    using passed = new OwnedFd(theirs);
    const serial = new Socket({ fd: ours, readable: true, writable: true });
    const [program, ...args] = options.command;
    try {
      const sandbox = await launch({
        ...options,
        command: [program, ...args, '-chardev', `socket,id=guest,fd=${serialFd}`, ...lineArguments[kind]],
        inherit: new Map([...(options.inherit ?? []), [serialFd, passed.fd]]),
      });
      return new Vm(sandbox, kind, serial);
    } catch (error) {
      serial.destroy();
      throw error;
    }
  }

  /** How it ended; undefined while it lives. */
  get ended(): string | undefined {
    return this.#ended;
  }

  /** Its end is a part of the row. */
  mayEnd(): void {
    this.#mayEnd = true;
  }

  get endExpected(): boolean {
    return this.#mayEnd;
  }

  checkAlive(): void {
    if (this.#ended !== undefined) throw new Error(`the VM ended: ${this.#ended}`);
  }

  /** Any QMP command; descriptors go along. Its error tells of refusals, as that of a command of `ratchet ctl` does. */
  async qmp<T = unknown>(
    command: string,
    args: Readonly<Record<string, unknown>> = {},
    fds: readonly number[] = [],
  ): Promise<T> {
    return await tellingRefusals(
      this.sandbox,
      async () => (await this.sandbox.vmm.qmp.executeAny(command, args, { fds })) as T,
    );
  }

  /** Repeats a query until its answer fits. */
  async until<T extends object = Readonly<Record<string, unknown>>>(
    command: string,
    fits: (answer: T) => boolean,
    args: Readonly<Record<string, unknown>> = {},
  ): Promise<T> {
    return await waitFor(
      command,
      async () => {
        const answer = await this.qmp<T>(command, args);
        return fits(answer) ? answer : undefined;
      },
      guestMs,
    );
  }

  /** A line of the human monitor. It prints errors rather than failing: any answer but the expected one throws. */
  async hmp(line: string, expected: RegExp = /^$/): Promise<string> {
    return await tellingRefusals(this.sandbox, async () => {
      const answer = (await this.sandbox.vmm.hmp(line)).trim();
      if (!expected.test(answer)) throw new Error(`${line}: ${answer}`);
      return answer;
    });
  }

  /** What a shell command of the Linux guest printed. @throws when its exit status is not 0. */
  async shell(command: string): Promise<string> {
    await this.console.waitForLine(promptPattern, guestMs);
    const from = this.console.text.length;
    this.#serial.write(`${command}\n`);
    const prompt = await this.console.waitForLine(promptPattern, guestMs, from);
    const text = this.console.text.slice(from);
    const output = text.slice(0, text.lastIndexOf(prompt[0])).replaceAll('\r', '').trim();
    if (prompt[1] !== '0') throw new Error(`the guest's "${command}" ended with ${prompt[1]}: ${output}`);
    return output;
  }

  /** Repeats a shell command until its output fits: the guest takes note of a new device in its own time. */
  async shellUntil(command: string, expected: RegExp): Promise<string> {
    const end = performance.now() + guestMs;
    for (;;) {
      const output = await this.shell(`${command} 2>&1 || true`);
      if (expected.test(output)) return output;
      if (performance.now() > end) throw new Error(`in the guest, ${command} did not come to ${expected}: ${output}`);
    }
  }

  /** The counter guest's next whole line, or that the shell answers. @throws when the guest does not go on. */
  async guestGoesOn(): Promise<number> {
    if (this.kind === 'linux') {
      await this.shell('true');
      return 0;
    }
    // The first line end from here may belong to a line that had begun before.
    const from = this.console.text.length;
    await this.console.waitForLine(/^/, guestMs, from);
    const [line] = await this.console.waitForLine(/^[0-9a-f]{8}$/, guestMs, this.console.text.indexOf('\n', from) + 1);
    return Number.parseInt(line, 16);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.sandbox.close();
    this.#serial.destroy();
  }
}
