// SPDX-License-Identifier: Apache-2.0
import type { Scene } from '../matrix/scene.ts';
import type { Vm } from '../matrix/vm.ts';

/** Twice that for each load, in the guest's memory: the file that it sent and the one that came back. */
export const bytesPerTurn = 1024 * 1024;

/** `other` is where the wires of `features` end. */
export type MachineName = 'base' | 'features' | 'other';
/** Those that were started. */
export type Machines = Readonly<Record<MachineName, Vm>>;

/** What a guest works on, through a backend of its own. */
export interface Load {
  readonly name: string;
  readonly on: MachineName;
  /** Another machine that it needs. */
  readonly reaches?: MachineName;
  /** Why it cannot be had here. */
  readonly missing?: () => string | undefined;
  /** Resolves with what the guest does in a turn, as a shell line: with the file OUT that it made, and the file IN that must be equal then. */
  readonly prepare: (scene: Scene, machines: Machines) => Promise<string>;
}
