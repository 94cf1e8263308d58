// SPDX-License-Identifier: Apache-2.0
import { join } from 'node:path';
import type { MachineOptions, Machines } from './machines.ts';
import type { Row } from './row.ts';
import type { GuestKind, Vm } from './vm.ts';

/** What one row works with. All that it takes from here ends with it. */
export class Scene implements AsyncDisposable {
  readonly #machines: Machines;
  readonly #row: Row;
  readonly #number: number;
  readonly #cleanUp: (() => unknown)[] = [];
  readonly #onVm: (vm: Vm) => Promise<void>;
  /** Shared and own ones, in order of their first use. */
  readonly vms = new Set<Vm>();
  /** How long a guest works at least, where that is the row. */
  readonly workSeconds: number;
  #names = 0;

  constructor(options: {
    readonly machines: Machines;
    readonly row: Row;
    /** The row's, among all. */
    readonly number: number;
    readonly workSeconds: number;
    /** Called with each VM before the row uses it. */
    readonly onVm: (vm: Vm) => Promise<void>;
  }) {
    this.#machines = options.machines;
    this.#row = options.row;
    this.#number = options.number;
    this.workSeconds = options.workSeconds;
    this.#onVm = options.onVm;
  }

  /** The shared machine without an operating system. */
  async counter(): Promise<Vm> {
    return await this.#enter(await this.#machines.shared('counter', this.#row.features ?? []));
  }

  /** The shared machine with Linux. */
  async linux(): Promise<Vm> {
    return await this.#enter(await this.#machines.shared('linux', this.#row.features ?? []));
  }

  /** A machine for this row alone. It may end. */
  async start(kind: GuestKind, options: MachineOptions = {}): Promise<Vm> {
    const vm = await this.#machines.start(kind, { features: this.#row.features ?? [], ...options });
    this.onEnd(() => vm[Symbol.asyncDispose]());
    return await this.#enter(vm);
  }

  /** A path that is granted, with nothing there yet. */
  path(suffix = ''): string {
    return join(this.#machines.files, `${this.#number}.${this.#names++}${suffix}`);
  }

  /** A name for something inside QEMU. */
  name(kind: string): string {
    return `${kind}${this.#number}-${this.#names++}`;
  }

  /** Whatever becomes of the row, last first. */
  onEnd(act: () => unknown): void {
    this.#cleanUp.push(act);
  }

  /** Ends with the row. */
  use<T extends Disposable | AsyncDisposable>(resource: T): T {
    this.onEnd(() => (Symbol.asyncDispose in resource ? resource[Symbol.asyncDispose]() : resource[Symbol.dispose]()));
    return resource;
  }

  async #enter(vm: Vm): Promise<Vm> {
    if (!this.vms.has(vm)) {
      this.vms.add(vm);
      await this.#onVm(vm);
    }
    return vm;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const act of this.#cleanUp.toReversed()) await act();
  }
}
