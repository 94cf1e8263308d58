// SPDX-License-Identifier: Apache-2.0
import type { LayerOptions } from '../layers/plan.ts';
import type { Grant } from '../policy/index.ts';

/** What the end of a member does to the others. */
export type OnEnd =
  | { readonly kind: 'stop-group' }
  | { readonly kind: 'go-on' }
  /** `times` within a minute; the wait doubles from `backoffMs`. */
  | { readonly kind: 'restart'; readonly times: number; readonly backoffMs: number };

export interface MemberLayers extends Omit<LayerOptions, 'user'> {
  /** Ids of which it gets one that is free. */
  readonly users: { readonly first: number; readonly last: number } | undefined;
}

export interface MemberSpec {
  readonly name: string;
  /** Variables are filled in, ports are not: they get their values when the member is started. */
  readonly command: readonly [string, ...string[]];
  readonly profile: string | undefined;
  readonly features: readonly string[];
  readonly allow: readonly Grant[];
  readonly mayGrant: readonly Grant[];
  /** Undefined: the profile's second. */
  readonly stage: string | undefined;
  readonly onEnd: OnEnd;
  readonly terminal: boolean;
  /** Undefined: only its filters confine it. */
  readonly layers: MemberLayers | undefined;
}

export interface Port {
  readonly member: string;
  readonly port: string;
}

/**
 * One wire of the group. `pair`: both ends of a socket pair are inherited, so neither side can be restarted alone. `socket`: the server inherits a listening
 * socket, and the client connects to its path through its broker, as often as it must.
 */
export interface LinkSpec {
  readonly kind: 'pair' | 'socket';
  readonly client: Port;
  readonly server: Port;
}

export interface GroupSpec {
  readonly name: string;
  /** In the order in which they are started: a server before its clients. */
  readonly members: readonly MemberSpec[];
  readonly links: readonly LinkSpec[];
}

export function portName({ member, port }: Port): string {
  return `${member}.${port}`;
}
