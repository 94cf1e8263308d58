// SPDX-License-Identifier: Apache-2.0
// What `ratchet run` can be told, and how its texts are read.
import { resolve } from 'node:path';
import { InvalidArgumentError } from 'commander';
import { RatchetError } from '../errors.ts';
import { type BrokerNamespace, brokerNamespaces } from '../launch/broker-namespaces.ts';

export interface RunOptions {
  readonly group?: string;
  readonly incoming?: boolean;
  readonly set: readonly string[];
  readonly profile?: string;
  readonly feature: readonly string[];
  readonly allow: readonly string[];
  readonly mayGrant: readonly string[];
  readonly control?: string;
  readonly detach?: boolean;
  readonly report?: string;
  readonly until?: string;
  readonly keepCapabilities?: boolean;
  readonly optional: readonly string[];
  readonly soak?: true | string;
  readonly maxRefusals?: number;
  readonly trail?: string;
  readonly agents?: string;
  readonly brokerRestarts?: number;
  readonly brokerNamespaces?: readonly BrokerNamespace[];
}

/** @throws RatchetError ARGUMENT_INVALID when there has to be one. */
export function controlPath({ control, detach }: RunOptions): string | undefined {
  if (control !== undefined) return resolve(control);
  if (detach === true) throw misuse('--detach without --control', 'give a path by which it is reached afterwards');
  return undefined;
}

export function parseNamespaces(text: string): readonly BrokerNamespace[] {
  return text.split(',').map((name) => {
    const kind = brokerNamespaces.find((each) => each === name);
    if (kind === undefined)
      throw misuse(`${JSON.stringify(name)} is no kind of namespace`, `write some of ${brokerNamespaces.join(', ')}`);
    return kind;
  });
}

export function parseOptional(name: string): 'broker-landlock' {
  if (name === 'broker-landlock') return name;
  throw new RatchetError('ARGUMENT_INVALID', `--optional ${name}: there is no such mechanism that may be missing`, {
    next: 'the only one is broker-landlock',
  });
}

export function parseCount(text: string): number {
  const count = Number(text);
  if (!Number.isSafeInteger(count) || count < 1) throw new InvalidArgumentError('give a whole number above 0');
  return count;
}

export function parseCountOrNone(text: string): number {
  return text === '0' ? 0 : parseCount(text);
}

export function misuse(what: string, next: string): RatchetError {
  return new RatchetError('ARGUMENT_INVALID', what, { next });
}
