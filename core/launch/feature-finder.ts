// SPDX-License-Identifier: Apache-2.0
import { featuresThatAllow, type ProfileFeature } from '../policy/index.ts';
import type { SyscallCall } from '../policy/types.ts';
import { loadFeatures } from '../profile-files.ts';

/**
 * Finds the features of a profile that would permit a call in a stage. The features are read at the first question: most launches have none to ask. By then the file
 * may be gone, or another one: it is advice on a refusal that has happened, so there is none then, and what runs goes on.
 */
export function featureFinder(profile: string | object): (stage: string, call: SyscallCall) => readonly string[] {
  let features: readonly ProfileFeature[] | undefined;
  return (stage, call) => {
    features ??= readOrNone(profile);
    return featuresThatAllow(features, stage, call);
  };
}

function readOrNone(profile: string | object): readonly ProfileFeature[] {
  try {
    return loadFeatures(profile);
  } catch {
    return [];
  }
}
