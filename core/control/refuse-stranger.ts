// SPDX-License-Identifier: Apache-2.0
import type { Socket } from 'node:net';
import { native } from '../../native/index.ts';
import { RatchetError } from '../errors.ts';

/**
 * Only root and the launcher's own user control a sandbox, whatever the socket file permits: the mode of one that was passed is somebody else's choice, and an abstract
 * one has none. @returns what to answer anybody else, or one whose user cannot be told.
 */
export function refuseStranger(socket: Socket): RatchetError | undefined {
  const user = userOf(socket);
  if (user !== undefined && (user === 0 || user === process.geteuid?.())) return undefined;
  return new RatchetError('CONTROL_FAILED', `user ${user ?? 'unknown'} may not control this sandbox`, {
    next: `be root or user ${process.geteuid?.()}, who launched it`,
  });
}

/** Node has no public name for a connection's descriptor. */
function userOf(socket: Socket & { readonly _handle?: { readonly fd?: number } | null }): number | undefined {
  const fd = socket._handle?.fd;
  if (fd === undefined || fd < 0) return undefined;
  try {
    return native.getPeerUser({ fd });
  } catch {
    return undefined;
  }
}
