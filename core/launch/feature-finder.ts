// SPDX-License-Identifier: Apache-2.0
import type { RefusalEvent } from '../broker/protocol.ts';
import type { PathAccess } from '../policy/address/index.ts';
import { featuresThatAllow, type ProfileFeature, type RefusedCall } from '../policy/index.ts';
import type { Arch, SyscallCall } from '../policy/types.ts';
import { loadFeatures } from '../profile-files.ts';
import { auditArchOf } from '../tables/index.ts';
import type { SandboxEvent } from './events.ts';

export type FindFeatures = (stage: string, refused: RefusedCall) => readonly string[];

/**
 * Finds the features of a profile that would permit a call in a stage. The features are read at the first question: most launches have none to ask. By then the file
 * may be gone, or another one: it is advice on a refusal that has happened, so there is none then, and what runs goes on.
 */
export function featureFinder(profile: string | object): FindFeatures {
  let features: readonly ProfileFeature[] | undefined;
  return (stage, refused) => {
    features ??= readOrNone(profile);
    return featuresThatAllow(features, stage, refused);
  };
}

/** A refusal as the broker tells it, with what it does not know: the thread's role, and the features that would permit the call. Requests on the channel have neither. */
export function completeRefusal(
  event: RefusalEvent,
  known: { readonly role: string | undefined; readonly arch: Arch; readonly featuresFor: FindFeatures },
): SandboxEvent {
  const { call, ...told } = event;
  if (call === undefined) return event;
  const args = call.registers.map((register) => BigInt(`0x${register}`)) as unknown as SyscallCall['args'];
  const { path } = event.args;
  const access = accesses.find((each) => each === event.args['access']);
  const open = access !== undefined && typeof path === 'string' ? { path, access } : undefined;
  const made = { nr: call.nr, auditArch: auditArchOf(known.arch), args } as const;
  const { role } = known;
  return { ...told, role, features: known.featuresFor(event.stage, { call: made, role, open }) };
}

/** What a refused `open` tells beside its path. */
const accesses: readonly PathAccess[] = ['ro', 'rw', 'wo'];

function readOrNone(profile: string | object): readonly ProfileFeature[] {
  try {
    return loadFeatures(profile);
  } catch {
    return [];
  }
}
