// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';

/** The bytes of a compiled filter (consecutive struct sock_filter); undefined when the name is no such file but a profile. */
export function readRawProgram(name: string): Uint8Array | undefined {
  let bytes: Buffer;
  try {
    bytes = readFileSync(name);
  } catch {
    // A shipped profile's name, or a file that the profile's own reader will complain of.
    return undefined;
  }
  // Programs are full of zero bytes; YAML and JSON have none.
  return bytes.includes(0) ? bytes : undefined;
}
