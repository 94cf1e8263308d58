// SPDX-License-Identifier: Apache-2.0
import type { Writable } from 'node:stream';
import type { LayerOptions } from '../layers/plan.ts';
import type { OwnedFd } from '../owned-fd.ts';
import type { Grant } from '../policy/index.ts';
import type { BrokerNamespace } from './broker-namespaces.ts';
import type { EventStream } from './events.ts';
import type { StdioKind } from './vmm-streams.ts';

/** What `launch()` takes. Only `command` is required. */
export interface LaunchOptions {
  /** The VMM and its arguments, as they would be typed. Ratchet adds its own monitor and `-S`. */
  readonly command: readonly [string, ...string[]];
  /** A shipped profile's name, a file, or a profile as an object. The default is the shipped profile of the VMM. */
  readonly profile?: string | Readonly<Record<string, unknown>>;
  /** Optional features of the profile, by name. */
  readonly features?: readonly string[];
  /** What the broker may do for this VM, on top of the profile: `{request: 'connect', target: 'tcp:127.0.0.1:4444'}`. */
  readonly allow?: readonly Grant[];
  /** What may be granted while the VM runs, in addition to the profile's own `may-grant` rows: by `Sandbox.grant()`, and by hotplug and migration for their time. */
  readonly mayGrant?: readonly Grant[];
  /** Stages (`true`: all) in which what the profile refuses is let through and reported, for a rollout. Their report never says `ok`. */
  readonly soak?: true | readonly string[];
  /** Kills the VMM at this many refusals of its calls. Default: never. */
  readonly maxRefusals?: number;
  /** The stage to enter before `launch()` returns; `start` returns with the machine built and paused. Default: the profile's second stage. */
  readonly until?: string;
  /** fds of this process that the VMM inherits: number there -> number here. 0 to 2 are `stdio`'s. */
  readonly inherit?: ReadonlyMap<number, number>;
  readonly stdio?: readonly [StdioKind, StdioKind, StdioKind];
  /** Where a piped stderr is passed on to. Default: this process's own when no `stdio` is given, else nowhere. */
  readonly stderr?: Writable;
  readonly environment?: NodeJS.ProcessEnv;
  /** RLIMIT name (without the prefix, lower case) -> soft and hard limit. Core dumps are off unless `core` is given. */
  readonly rlimits?: Readonly<Record<string, number>>;
  /** Keep the capabilities of this process in the VMM. Default: all are dropped at exec. */
  readonly keepCapabilities?: boolean;
  /** The profile's `layers` confine it too; without this key only its filters do. */
  readonly layers?: LayerOptions;
  /** Where the broker writes its decisions, one JSON line each. */
  readonly brokerLog?: number | 'ignore' | 'inherit';
  /** A file that the broker's decisions are appended to; opened anew when it is renamed. In place of `brokerLog`. */
  readonly trail?: string;
  /** A unix seqpacket socket (or one that listens already, which is taken) at which processes of these users (default: this process's own) may ask the broker for what its rules judge (brokers/PROTOCOL.md). */
  readonly agents?: ({ readonly path: string } | { readonly listening: OwnedFd }) & {
    readonly users?: readonly number[];
  };
  /** Kinds of namespaces that the broker gets for itself; `net` only where it makes no connections and taps. Takes root. */
  readonly brokerNamespaces?: readonly BrokerNamespace[];
  /** Mechanisms that may be missing on this kernel; the report shows them as absent then. `broker-landlock` is the only one. */
  readonly optional?: readonly 'broker-landlock'[];
  /** How many brokers may follow one that died, within a minute. Default 3. With 0 the death of the broker ends brokered calls (ENOSYS). */
  readonly brokerRestarts?: number;
  /** Files that the broker removes when the sandbox is gone, even if this process was killed. */
  readonly ownedPaths?: readonly string[];
  /** Bound on each step of the launch. Milliseconds. */
  readonly deadlineMs?: number;
  /** Where events go, from the first on; read it before the launch to miss none, and even when the launch fails. Default: `sandbox.events` alone. */
  readonly events?: EventStream;
  /** Gives up the launch: what was started is ended, and `launch()` rejects with the signal's reason. Without effect afterwards. */
  readonly signal?: AbortSignal;
}
