// SPDX-License-Identifier: Apache-2.0
// The resolved profile on its way to the broker, in a sealed memfd. Checked like any input: the broker trusts no bytes it did not make.
import { z } from 'zod';
import { RatchetError } from '../errors.ts';
import { brokerRequestKinds } from '../policy/actions.ts';
import type { Condition, ResolvedProfile } from '../policy/types.ts';
import { decodeFrame, encodeFrame } from './frame.ts';

/** A profile with every syscall of three stages written out is well below this. */
const maxProfileBytes = 8 * 1024 * 1024;

export function encodeProfile(profile: ResolvedProfile): Uint8Array {
  return encodeFrame(profile);
}

/** @throws RatchetError PROFILE_INVALID. */
export function decodeProfile(bytes: Uint8Array): ResolvedProfile {
  if (bytes.length > maxProfileBytes)
    throw new RatchetError('PROFILE_INVALID', `a resolved profile of ${bytes.length} bytes`);
  const checked = profileSchema.safeParse(decodeFrame(bytes));
  if (checked.success) return checked.data;
  const issue = checked.error.issues[0];
  throw new RatchetError(
    'PROFILE_INVALID',
    `the resolved profile is malformed at ${issue?.path.join('.')}: ${issue?.message}`,
  );
}

const count = z.number().int().min(0);
/** A bit pattern; msgpack may have shortened nothing, since bigints are always written whole. */
const word = z.bigint().min(0n).max(0xffff_ffff_ffff_ffffn);
const optionalText = z.union([z.string(), z.undefined()]);
const source = z.strictObject({ file: z.string(), line: count, column: count });
const errno = z.number().int().min(1).max(4095);
const arch = z.enum(['x86_64', 'aarch64', 'riscv64']);
const width = z.enum(['low32', 'zero32', 'sign32', 'full64']);
const arg = z.number().int().min(0).max(5);

const action = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('allow') }),
  z.strictObject({ kind: z.literal('broker') }),
  z.strictObject({ kind: z.literal('log') }),
  z.strictObject({ kind: z.literal('errno'), errno: z.number().int().min(0).max(4095), quiet: z.boolean() }),
  z.strictObject({ kind: z.literal('trap') }),
  z.strictObject({ kind: z.literal('trace'), data: count }),
  z.strictObject({ kind: z.literal('kill-thread') }),
  z.strictObject({ kind: z.literal('kill-process') }),
]);

const condition: z.ZodType<Condition> = z.lazy(() =>
  z.union([
    z.strictObject({ kind: z.enum(['always', 'never']) }),
    z.strictObject({
      kind: z.literal('compare'),
      arg,
      width,
      mask: word,
      op: z.enum(['==', '!=', '<', '<=', '>', '>=']),
      value: word,
      signed: z.boolean(),
    }),
    z.strictObject({ kind: z.literal('in'), arg, width, values: z.array(word) }),
    z.strictObject({ kind: z.enum(['and', 'or']), terms: z.array(condition) }),
    z.strictObject({ kind: z.literal('not'), term: condition }),
  ]),
);

const rule = z.strictObject({
  action,
  when: condition,
  whenText: z.string(),
  why: z.string(),
  risk: optionalText,
  source,
});

const filterPolicy = z.strictObject({
  arch,
  syscalls: z.array(
    z.strictObject({
      nr: count,
      name: z.string(),
      rules: z.array(rule),
      otherwise: action,
      otherwiseRule: rule.optional(),
    }),
  ),
  otherwise: action,
  unknown: action,
  lastKnownNr: count,
  foreign: action,
});

const profileSchema = z.strictObject({
  name: z.string(),
  file: z.string(),
  vmm: z.string(),
  arch,
  stages: z
    .array(
      z.strictObject({
        name: z.string(),
        epoch: count,
        closedToGrants: z.boolean().exactOptional(),
        soak: z.boolean().exactOptional(),
        requires: z
          .strictObject({
            noFds: z.array(z.strictObject({ kind: z.string(), why: z.string(), source })),
            noChildren: z.boolean(),
            sameFilters: z.boolean(),
          })
          .exactOptional(),
        filter: filterPolicy,
        roles: z.record(z.string(), filterPolicy),
        broker: z.array(
          z.strictObject({
            request: z.enum(brokerRequestKinds),
            target: z.string(),
            refuseErrno: z.union([errno, z.undefined()]),
            mayGrant: z.boolean().exactOptional(),
            why: z.string(),
            source,
          }),
        ),
      }),
    )
    .min(1),
  hosts: z.record(z.string(), z.array(z.string())).exactOptional(),
  programs: z
    .array(
      z.strictObject({
        name: z.string(),
        path: z.string(),
        args: z.array(z.string()),
        stdio: z.enum(['streams', 'socket']),
        profile: z.string(),
        seconds: count,
        atOnce: count,
        why: z.string(),
        source,
      }),
    )
    .exactOptional(),
}) satisfies z.ZodType<ResolvedProfile>;
