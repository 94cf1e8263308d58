// SPDX-License-Identifier: Apache-2.0
import type { SandboxEvent } from '../../core/launch/events.ts';
import type { Scene } from './scene.ts';

/**
 * How QEMU comes to what the operation needs. `transparent`: QEMU asks the kernel by path or address, as under any launcher, and the broker answers.
 * `fd`: the launcher asks the broker and passes the descriptor in. `in-process`: nothing from outside is needed.
 */
export type Way = 'transparent' | 'fd' | 'in-process';

/** An operation that a VM may need after its vCPUs have started, and the proof that it works in stage `running`. */
export interface Row {
  readonly operation: string;
  readonly way: Way;
  /** Of the shipped profile, chosen at launch. */
  readonly features?: readonly string[];
  /** Does it and checks the effect; throws when it is not there. For a row with a `limit`: shows that it fails and the guest goes on. */
  readonly run: (scene: Scene) => Promise<void>;
  /** Why it cannot work, though nothing of ratchet's stands in the way, and what to use instead. */
  readonly limit?: { readonly because: string; readonly instead: string };
  /** Why it cannot be run on this machine; undefined where it can. */
  readonly missing?: () => string | undefined;
  /** A refusal that belongs to the row. Any other one fails it. */
  readonly expects?: (refusal: SandboxEvent) => boolean;
  /** Ratchet traces QEMU itself here, and strace cannot at the same time. Needs a machine of its own. */
  readonly untraced?: true;
  /** Too slow for the short form, which is part of the tests. */
  readonly longOnly?: true;
}

export interface Area {
  readonly area: string;
  readonly rows: readonly Row[];
}

/** Unique in the matrix, and the name of its test. */
export function rowName({ area }: { readonly area: string }, { operation, way }: Row): string {
  return `${area}: ${operation} (${way})`;
}
