// SPDX-License-Identifier: Apache-2.0
// The machines that rows run on. Most rows share one: what they add, they take away.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Grant } from '../../core/policy/index.ts';
import { packagePath } from '../../native/package-path.ts';
import { buildCounterGuest } from './guest/counter.ts';
import { buildLinuxGuest } from './guest/linux.ts';
import { type GuestKind, Vm } from './vm.ts';

export interface MachineOptions {
  readonly args?: readonly string[];
  /** On top of what every machine is granted. */
  readonly allow?: readonly Grant[];
  readonly features?: readonly string[];
  readonly keepCapabilities?: boolean;
  readonly accelerator?: 'tcg' | 'kvm';
}

export class Machines implements AsyncDisposable {
  readonly #folder: string;
  readonly #shared = new Map<string, Promise<Vm>>();

  /** @param folder what rows may have opened, bound and connected. Short: a socket's path has 107 bytes. */
  constructor(folder: string) {
    this.#folder = folder;
    mkdirSync(this.files);
  }

  /** Where rows have their files; nothing of ratchet's own is there. */
  get files(): string {
    return join(this.#folder, 'f');
  }

  /** One for all rows with the same features. */
  async shared(kind: GuestKind, features: readonly string[]): Promise<Vm> {
    const key = [kind, ...features].join();
    const started = this.#shared.get(key);
    if (started !== undefined && (await started).ended === undefined) return await started;
    const starting = this.start(kind, { features });
    this.#shared.set(key, starting);
    return await starting;
  }

  async start(kind: GuestKind, options: MachineOptions): Promise<Vm> {
    const accelerator = options.accelerator ?? 'tcg';
    return await Vm.start(kind, {
      command: [
        'qemu-system-x86_64',
        ...['-no-user-config', '-nodefaults', '-display', 'none'],
        ...this.#guestArguments(kind, accelerator),
        ...(options.args ?? []),
      ],
      features: options.features ?? [],
      allow: [...this.#grants(), ...(options.allow ?? [])],
      keepCapabilities: options.keepCapabilities ?? false,
    });
  }

  /** What the launcher grants: files and sockets of its own folder, loopback, and its own tap devices. */
  #grants(): readonly Grant[] {
    const sockets = [`unix:${this.files}/*`, 'tcp:127.0.0.0/8:1-65535', 'tcp:[::1]:1-65535'];
    return [
      { request: 'open', target: `${this.files}/**` },
      ...sockets.flatMap((target): Grant[] => [
        { request: 'connect', target },
        { request: 'bind', target },
      ]),
      { request: 'tap', target: 'matrix*' },
    ];
  }

  #guestArguments(kind: GuestKind, accelerator: string): readonly string[] {
    const machine = ['-machine', `pc,accel=${accelerator},vmport=off`];
    if (kind === 'counter') return [...machine, '-m', '32', '-bios', buildCounterGuest(this.#folder)];
    const { kernel, initrd } = buildLinuxGuest(this.#folder, packagePath('.cache'));
    return [
      ...machine,
      ...['-cpu', 'qemu64', '-smp', '1,maxcpus=4', '-m', '256,slots=8,maxmem=2G', '-no-reboot'],
      ...['-kernel', kernel, '-initrd', initrd],
      '-append',
      'console=ttyS0 quiet loglevel=0 panic=-1 random.trust_cpu=on memhp_default_state=online rdinit=/init',
    ];
  }

  /** Ends the shared machines that have features: few rows want the same. */
  async endSpecial(): Promise<void> {
    for (const [key, vm] of this.#shared) {
      if (!key.includes(',')) continue;
      this.#shared.delete(key);
      await (await vm)[Symbol.asyncDispose]();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const vm of this.#shared.values()) await (await vm)[Symbol.asyncDispose]();
  }
}
