// SPDX-License-Identifier: Apache-2.0
import type { OkValue, Result } from '../../core/broker/protocol.ts';
import type { OwnedFd } from '../../core/owned-fd.ts';

type WithoutId<T> = T extends unknown ? Omit<T, 'id' | 'type'> : never;

/** What a handler answers: at once, or later. Exactly once. `fds` pass to the callee. */
export type Reply = (result: WithoutId<Result>, ...fds: readonly OwnedFd[]) => void;

export function ok(reply: Reply, value: OkValue = {}, ...fds: readonly OwnedFd[]): void {
  reply({ class: 'ok', value }, ...fds);
}

/** The kernel said no. */
export function failed(reply: Reply, what: string, errno: number, next?: string): void {
  reply({ class: 'errno', what, errno, ...(next === undefined ? {} : { next }) });
}
