// SPDX-License-Identifier: Apache-2.0
import type { OwnedFd } from '../../core/owned-fd.ts';
import type { Broker } from '../broker.ts';
import { ok, type Reply } from './reply.ts';

/** From the answer on the log goes to this file. */
export function logRequest(broker: Broker, file: OwnedFd | undefined, reply: Reply): void {
  if (file !== undefined) broker.reporter.logTo(file);
  ok(reply);
}
