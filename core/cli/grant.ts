// SPDX-License-Identifier: Apache-2.0
import { RatchetError } from '../errors.ts';
import type { Grant } from '../policy/index.ts';
import type { BrokerRequestKind } from '../policy/types.ts';

const requests: ReadonlySet<string> = new Set<BrokerRequestKind>(['connect', 'bind', 'open', 'tap']);

/** Reads `connect=tcp:127.0.0.1:4444`. The target itself is checked where the grant is placed. @throws RatchetError ARGUMENT_INVALID. */
export function parseGrant(text: string): Grant {
  const separator = text.indexOf('=');
  const request = text.slice(0, Math.max(separator, 0));
  if (!requests.has(request))
    throw new RatchetError('ARGUMENT_INVALID', `--allow ${text} is not a grant`, {
      next: 'write connect=ADDR, bind=ADDR, open=PATH[:ro] or tap=NAME',
    });
  return { request: request as BrokerRequestKind, target: text.slice(separator + 1) };
}
