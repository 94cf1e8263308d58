// SPDX-License-Identifier: Apache-2.0
// The machines that rows run on. Most rows share one: what they add, they take away.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Grant } from '../../core/policy/index.ts';
import { packagePath } from '../../native/package-path.ts';
import { type Programs, profileWith } from '../launch/programs-profile.ts';
import { buildCounterGuest } from './guest/counter.ts';
import { buildLinuxGuest } from './guest/linux.ts';
import { isAtLeast } from './qemu-version.ts';
import { type GuestKind, Vm } from './vm.ts';

/** Shows what QEMU says on stderr. */
const verbose = process.env['MATRIX_VERBOSE'] !== undefined;

export interface MachineOptions {
  readonly args?: readonly string[];
  /** On top of what every machine is granted. */
  readonly allow?: readonly Grant[];
  readonly features?: readonly string[];
  readonly keepCapabilities?: boolean;
  /** Its stdout can be read; otherwise it goes nowhere. */
  readonly stdout?: true;
  /** A reset by the guest is one; otherwise it ends the machine. */
  readonly mayReboot?: true;
  readonly accelerator?: 'tcg' | 'kvm';
  /** Programs that its profile names, all of them granted. */
  readonly programs?: Programs;
}

export interface MachinesOptions {
  /** All rows that want features share one machine with these, which is quicker; otherwise each has exactly what it wants. */
  readonly union?: readonly string[];
  /** Instead of the shipped one. */
  readonly profile?: Readonly<Record<string, unknown>>;
}

export class Machines implements AsyncDisposable {
  readonly #folder: string;
  readonly #union: readonly string[] | undefined;
  readonly #profile: Readonly<Record<string, unknown>> | undefined;
  readonly #shared = new Map<string, Promise<Vm>>();

  /**
   * @param folder what rows may have opened, bound and connected. Short: a socket's path has 107 bytes.
   */
  constructor(folder: string, options: MachinesOptions = {}) {
    this.#folder = folder;
    this.#union = options.union;
    this.#profile = options.profile;
    mkdirSync(this.files);
  }

  /** Where rows have their files; nothing of ratchet's own is there. */
  get files(): string {
    return join(this.#folder, 'f');
  }

  /** One for all rows with the same features. */
  async shared(kind: GuestKind, wanted: readonly string[]): Promise<Vm> {
    const features = wanted.length === 0 ? [] : (this.#union ?? wanted);
    const key = [kind, ...features].join();
    const started = this.#shared.get(key);
    if (started !== undefined && (await started).ended === undefined) return await started;
    const starting = this.start(kind, { features });
    this.#shared.set(key, starting);
    starting.catch(() => this.#shared.delete(key));
    return await starting;
  }

  async start(kind: GuestKind, options: MachineOptions): Promise<Vm> {
    const accelerator = options.accelerator ?? 'tcg';
    return await Vm.start(kind, {
      command: [
        'qemu-system-x86_64',
        ...['-no-user-config', '-nodefaults', '-display', 'none'],
        ...this.#guestArguments(kind, accelerator),
        ...(kind === 'linux' && options.mayReboot !== true ? ['-no-reboot'] : []),
        // Devices on it come and go without help of a guest.
        ...['-device', 'qemu-xhci,id=usb', '-device', 'VGA,romfile='],
        ...(options.args ?? []),
      ],
      // Each has a graphics card.
      features: [...(options.features ?? []), ...(isAtLeast('10.0') ? ['graphics'] : [])],
      ...this.#profileFor(options.programs),
      allow: [...this.#grants(), ...programGrants(options.programs), ...(options.allow ?? [])],
      stdio: ['ignore', options.stdout === true ? 'pipe' : 'ignore', verbose ? 'inherit' : 'pipe'],
      keepCapabilities: options.keepCapabilities ?? false,
    });
  }

  #profileFor(programs: Programs | undefined): { readonly profile?: Readonly<Record<string, unknown>> } {
    if (programs !== undefined) return { profile: profileWith(programs) };
    return this.#profile === undefined ? {} : { profile: this.#profile };
  }

  /** What the launcher grants: files and sockets of its own folder, loopback, terminals, and its own tap devices. */
  #grants(): readonly Grant[] {
    const sockets = [`unix:${this.files}/*`, 'tcp:127.0.0.0/8:1-65535', 'tcp:[::1]:1-65535'];
    return [
      { request: 'open', target: `${this.files}/**` },
      ...sockets.flatMap((target): Grant[] => [
        { request: 'connect', target },
        { request: 'bind', target },
      ]),
      { request: 'open', target: '/dev/pts/*' },
      { request: 'tap', target: 'matrix*' },
    ];
  }

  #guestArguments(kind: GuestKind, accelerator: string): readonly string[] {
    const machine = ['-machine', `pc,accel=${accelerator},vmport=off`];
    if (kind === 'counter') return [...machine, '-m', '32', '-bios', buildCounterGuest(this.#folder)];
    const { kernel, initrd } = buildLinuxGuest(this.#folder, packagePath('.cache'));
    return [
      ...machine,
      ...['-cpu', 'qemu64', '-smp', '1,maxcpus=4', '-m', '256,slots=8,maxmem=2G'],
      ...['-kernel', kernel, '-initrd', initrd],
      '-append',
      'quiet loglevel=0 panic=-1 random.trust_cpu=on memhp_default_state=online_movable rdinit=/init',
    ];
  }

  /** A row went wrong on it: the next one gets another. */
  async discard(vm: Vm): Promise<void> {
    for (const [key, starting] of this.#shared) if ((await starting) === vm) this.#shared.delete(key);
    await vm.sandbox.kill();
  }

  /** Ends the shared machines that have features: few rows want the same. */
  async endSpecial(): Promise<void> {
    for (const [key, vm] of this.#shared) {
      if (!key.includes(',') || this.#union !== undefined) continue;
      this.#shared.delete(key);
      await (await vm)[Symbol.asyncDispose]();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const vm of this.#shared.values()) await (await vm)[Symbol.asyncDispose]();
  }
}

function programGrants(programs: Programs = {}): readonly Grant[] {
  return Object.keys(programs).map((target) => ({ request: 'exec', target }));
}
