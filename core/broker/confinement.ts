// SPDX-License-Identifier: Apache-2.0
// What the launcher tells the broker to take away from itself, in a sealed memfd beside the profile. Without it the broker does not start.
import { z } from 'zod';
import { RatchetError } from '../errors.ts';
import { decodeFrame, encodeFrame } from './frame.ts';

const program = z.custom<Uint8Array>((value) => value instanceof Uint8Array);
const word = z.bigint().min(0n).max(0xffff_ffff_ffff_ffffn);

const confinementSchema = z.strictObject({
  /** The filters of profiles/broker.yaml, by stage. `all`: in all threads; `main` and `files`: on top of it, see there. */
  stages: z.array(z.strictObject({ name: z.string(), all: program, main: program, files: program })).min(1),
  /** For the files thread. Null only where the launcher was told that Landlock may be missing. */
  landlock: z
    .strictObject({
      handled: word,
      scoped: word,
      rights: z.array(z.strictObject({ path: z.string(), access: word })),
    })
    .nullable(),
  /** Capabilities that stay, bit n for number n. */
  capabilities: word,
  /** RLIMIT_DATA and RLIMIT_NOFILE. */
  maxDataBytes: z.number().int().positive(),
  maxFds: z.number().int().positive(),
});

export type Confinement = z.infer<typeof confinementSchema>;

export function encodeConfinement(confinement: Confinement): Uint8Array {
  return encodeFrame(confinement);
}

/** @throws RatchetError BROKER_PROTOCOL. */
export function decodeConfinement(bytes: Uint8Array): Confinement {
  const checked = confinementSchema.safeParse(decodeFrame(bytes));
  if (checked.success) return checked.data;
  const issue = checked.error.issues[0];
  throw new RatchetError(
    'BROKER_PROTOCOL',
    `the confinement is malformed at ${issue?.path.join('.')}: ${issue?.message}`,
  );
}
