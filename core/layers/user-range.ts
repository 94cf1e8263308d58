// SPDX-License-Identifier: Apache-2.0
import { RatchetError } from '../errors.ts';
import { holdName } from './held-name.ts';

/** A user id that no other launcher on this machine has given out. It is kept for as long as this process holds it, however that ends. */
export interface HeldUser extends Disposable {
  readonly user: number;
}

/**
 * The first id of the range that is free.
 * @throws RatchetError ARGUMENT_INVALID when all are taken.
 */
export function holdUser({ first, last }: { readonly first: number; readonly last: number }): HeldUser {
  for (let user = first; user <= last; user++) {
    const held = holdName(`ratchet-user-${user}`);
    if (held !== undefined) return { user, [Symbol.dispose]: () => held[Symbol.dispose]() };
  }
  throw new RatchetError('ARGUMENT_INVALID', `every user id from ${first} to ${last} is taken`, {
    next: 'give a larger range',
  });
}
