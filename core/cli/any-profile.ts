// SPDX-License-Identifier: Apache-2.0

import { importOci } from '../formats/import/oci.ts';
import { parseProfile } from '../policy/index.ts';
import type { Arch, ResolvedProfile } from '../policy/types.ts';
import { loadProfile, readProfileText } from '../profile-files.ts';
import { complain } from './output.ts';

/** A profile of ours, or an OCI, Docker or Podman seccomp file, which is translated first; what is lost thereby goes to stderr. */
export function loadAnyProfile(
  name: string,
  options: { readonly arch: Arch; readonly features: readonly string[] },
): ResolvedProfile {
  if (!name.endsWith('.json')) return loadProfile(name, options);
  const { text, file } = readProfileText(name);
  if (!isOci(text)) return loadProfile(name, options);
  const { profileText, losses } = importOci(text, { file, arch: options.arch });
  for (const loss of losses) complain(`${file}: ${loss}`);
  // Lines are those of the translation, which `import` prints; each rule's reason names the line of the source.
  const translation = `${file} (imported)`;
  const profile = parseProfile(profileText, {
    file: translation,
    arch: options.arch,
    features: [],
    include: refuseInclude,
  });
  return { ...profile, file };
}

/** Only these files have the key; ours have `stages`. A text that is no JSON is reported by the profile's own parser. */
function isOci(text: string): boolean {
  try {
    return 'defaultAction' in (JSON.parse(text) as object);
  } catch {
    return false;
  }
}

function refuseInclude(name: string): never {
  throw new Error(`an imported profile includes nothing, but this one asks for ${name}`);
}
