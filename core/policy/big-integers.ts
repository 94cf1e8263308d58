// SPDX-License-Identifier: Apache-2.0
import { CORE_SCHEMA, DUMP_SCHEMA, defineScalarTag, intCoreTag, NOT_RESOLVED } from 'js-yaml';

/** Whole numbers of YAML as bigints: arguments of system calls have 64 bits. */
const bigIntTag = defineScalarTag('tag:yaml.org,2002:int', {
  implicit: true,
  resolve(written, isExplicit, tagName) {
    const number = intCoreTag.resolve(written, isExplicit, tagName);
    if (number === NOT_RESOLVED) return NOT_RESOLVED;
    return written.startsWith('-') ? -BigInt(written.slice(1)) : BigInt(written.replace(/^\+/, ''));
  },
  identify: (value) => typeof value === 'bigint' || Number.isSafeInteger(value),
});

export const readingBigInts = CORE_SCHEMA.withTags(bigIntTag);
export const writingBigInts = DUMP_SCHEMA.withTags(bigIntTag);
