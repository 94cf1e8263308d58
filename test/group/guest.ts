// SPDX-License-Identifier: Apache-2.0
// A group with a Linux guest that does what it is told over its serial line.
import type { Guest } from '../../core/demo/guest.ts';
import { GuestConsole } from '../../core/demo/guest-console.ts';
import type { Group } from '../../core/group/group.ts';
import { launchGroup } from '../../core/group/launch-group.ts';
import type { SandboxEvent } from '../../core/launch/events.ts';
import { EventStream } from '../../core/launch/events.ts';
import type { Sandbox } from '../../core/launch/sandbox.ts';
import type { Qemu } from '../../core/qemu/qemu.ts';
import type { StorageDaemon } from '../../core/storage-daemon/storage-daemon.ts';
import type { Vmm } from '../../core/vmm/vmm.ts';
import { packagePath } from '../../native/package-path.ts';
import { buildLinuxGuest, promptPattern } from '../matrix/guest/linux.ts';

/** For anything that a guest does, on a loaded machine. */
export const guestMs = 60_000;

/** Words of QEMU's for the guest. */
export function guestWords(folder: string): readonly string[] {
  const { kernel, initrd } = guestOf(folder);
  const append = 'console=ttyS0 quiet loglevel=0 panic=-1 random.trust_cpu=on rdinit=/init';
  return [
    ...['-no-user-config', '-nodefaults', '-display', 'none', '-no-reboot'],
    ...['-machine', 'pc,accel=tcg,vmport=off,memory-backend=ram', '-cpu', 'qemu64', '-m', '256'],
    ...['-object', 'memory-backend-memfd,id=ram,size=256M,share=on'],
    ...['-kernel', kernel, '-initrd', initrd, '-append', append],
    ...['-chardev', 'stdio,id=console,signal=off', '-serial', 'chardev:console'],
  ];
}

export function guestOf(folder: string): Guest {
  return buildLinuxGuest(folder, packagePath('.cache'));
}

export interface GuestGroupOptions {
  readonly group: string | Readonly<Record<string, unknown>>;
  readonly variables?: Readonly<Record<string, string>>;
  /** The member that has the guest. */
  readonly vmm?: string;
  /** The guest comes from another group, and says nothing by itself. */
  readonly incoming?: boolean;
}

export class GuestGroup implements AsyncDisposable {
  readonly group: Group;
  readonly console: GuestConsole;
  readonly events: SandboxEvent[] = [];
  readonly #vmm: string;
  readonly #arrives: boolean;

  private constructor(group: Group, vmm: string, events: EventStream, arrives: boolean) {
    this.group = group;
    this.#vmm = vmm;
    this.#arrives = arrives;
    this.console = new GuestConsole(this.sandbox.stdout);
    const reader = events[Symbol.asyncIterator]();
    void (async () => {
      for (let next = await reader.next(); next.done !== true; next = await reader.next()) {
        this.events.push(next.value);
        if (process.env['GROUP_VERBOSE'] !== undefined) console.error(JSON.stringify(next.value));
      }
    })();
  }

  static async start({ vmm = 'vmm', ...options }: GuestGroupOptions): Promise<GuestGroup> {
    const events = new EventStream();
    const group = await launchGroup({ ...options, events, members: { [vmm]: { stdio: ['pipe', 'pipe', 'pipe'] } } });
    return new GuestGroup(group, vmm, events, options.incoming ?? false);
  }

  get sandbox(): Sandbox<Qemu> {
    return this.group.member(this.#vmm) as Sandbox<Vmm> as Sandbox<Qemu>;
  }

  storage(name = 'storage'): StorageDaemon {
    return this.group.member(name).vmm as StorageDaemon;
  }

  /** What a shell command of the guest printed. @throws when its exit status is not 0. */
  async shell(command: string): Promise<string> {
    if (!this.#arrives) await this.console.waitForLine(promptPattern, guestMs);
    const from = this.console.text.length;
    this.sandbox.stdin.write(`${command}\n`);
    const prompt = await this.console.waitForLine(promptPattern, guestMs, from);
    const text = this.console.text.slice(from);
    const output = text.slice(0, text.lastIndexOf(prompt[0])).replaceAll('\r', '').trim();
    if (prompt[1] !== '0') throw new Error(`the guest's "${command}" ended with ${prompt[1]}: ${output}`);
    return output;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.group.stop();
  }
}
