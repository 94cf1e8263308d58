// SPDX-License-Identifier: Apache-2.0
import { readFileSync, writeFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { profileJsonSchemas } from '../../core/policy/index.ts';
import { packagePath } from '../../native/package-path.ts';

it.each(Object.entries(profileJsonSchemas()))('profiles/%s is what the loader checks', (name, schema) => {
  const file = packagePath(`profiles/${name}`);
  const text = `${JSON.stringify(schema, undefined, 2)}\n`;
  // `UPDATE_SCHEMA=1 npx vitest run test/policy/schema` writes the files.
  if (process.env.UPDATE_SCHEMA === '1') writeFileSync(file, text);
  expect(readFileSync(file, 'utf8')).toBe(text);
});
