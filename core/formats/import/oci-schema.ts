// SPDX-License-Identifier: Apache-2.0
// The seccomp part of the OCI runtime specification, and what Docker and Podman add to it (names, archMap, includes, excludes, comment).

import { z } from 'zod';

const uint = z.union([z.bigint(), z.number().int()]).transform((value) => BigInt.asUintN(64, BigInt(value)));

const filterSchema = z
  .looseObject({
    caps: z.array(z.string()).nullish(),
    arches: z.array(z.string()).nullish(),
    minKernel: z.string().nullish(),
  })
  .nullish();

const argSchema = z.looseObject({
  index: uint.transform(Number),
  value: uint.nullish().transform((value) => value ?? 0n),
  valueTwo: uint.nullish().transform((value) => value ?? 0n),
  op: z.string(),
});

const entrySchema = z.looseObject({
  name: z.string().nullish(),
  names: z.array(z.string()).nullish(),
  action: z.string(),
  errnoRet: uint.nullish(),
  args: z.array(argSchema).nullish(),
  comment: z.string().nullish(),
  includes: filterSchema,
  excludes: filterSchema,
});

/** The `seccomp` object itself. */
export const ociSchema = z.looseObject({
  defaultAction: z.string(),
  defaultErrnoRet: uint.nullish(),
  architectures: z.array(z.string()).nullish(),
  archMap: z
    .array(z.looseObject({ architecture: z.string(), subArchitectures: z.array(z.string()).nullish() }))
    .nullish(),
  flags: z.array(z.string()).nullish(),
  listenerPath: z.string().nullish(),
  listenerMetadata: z.string().nullish(),
  syscalls: z.array(entrySchema).nullish(),
});

export type OciProfile = z.infer<typeof ociSchema>;
export type OciEntry = z.infer<typeof entrySchema>;
export type OciArg = z.infer<typeof argSchema>;
