// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';

interface LockFile {
  readonly packages: Readonly<Record<string, { readonly optionalDependencies?: Readonly<Record<string, string>> }>>;
}

// npm leaves a platform's package out when the registry it asked lacks it, and `npm ci` then refuses the lock file everywhere.
test('the lock file has an entry for the packages of every platform, so that `npm ci` takes it', () => {
  const { packages } = JSON.parse(readFileSync('package-lock.json', 'utf8')) as LockFile;
  const wanted = Object.values(packages).flatMap(({ optionalDependencies }) => Object.keys(optionalDependencies ?? {}));
  const missing = wanted.filter((name) => packages[`node_modules/${name}`] === undefined);
  expect(missing).toEqual([]);
});
