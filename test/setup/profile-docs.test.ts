// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { parseProfile, profileJsonSchema } from '../../core/policy/index.ts';

const document = readFileSync('docs/profiles.md', 'utf8');

test('the profile that docs/profiles.md shows is a valid one', () => {
  const [, text = ''] = /^```yaml\n(.*?)^```$/ms.exec(document) ?? [];
  const profile = parseProfile(text, { file: 'docs/profiles.md', arch: 'x86_64', include: noIncludes });
  expect(profile.stages.map(({ name }) => name)).toEqual(['start', 'running']);
});

test('docs/profiles.md names every key of the schema', () => {
  const undocumented = [...keysOf(profileJsonSchema())].filter((key) => !document.includes(`\`${key}`));
  expect(undocumented).toEqual([]);
});

function noIncludes(name: string): never {
  throw new Error(`the example includes ${name}`);
}

/** Every property name anywhere in a JSON Schema. */
function keysOf(schema: unknown): ReadonlySet<string> {
  if (schema === null || typeof schema !== 'object') return new Set();
  const own =
    'properties' in schema && typeof schema.properties === 'object' ? Object.keys(schema.properties ?? {}) : [];
  return new Set([...own, ...Object.values(schema).flatMap((part) => [...keysOf(part)])]);
}
