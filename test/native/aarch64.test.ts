// SPDX-License-Identifier: Apache-2.0
// What cannot be run here is at least compiled: the injection for aarch64.
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { packagePath } from '../../native/package-path.ts';

const compiler = 'aarch64-linux-gnu-g++';

it('the injection compiles for aarch64', () => {
  const folder = packagePath('native/sys');
  // Those in which the architecture is seen.
  const sources = readdirSync(folder)
    .filter((file) => /^tighten.*\.cc$/.test(file) && /arch::|SYS_/.test(readFileSync(`${folder}/${file}`, 'utf8')))
    .map((file) => `${folder}/${file}`);
  expect(sources.length).toBeGreaterThan(4);
  const flags = ['-std=c++20', '-Wall', '-Wextra', '-Wpedantic', '-Werror', '-D_GNU_SOURCE', '-fsyntax-only'];
  execFileSync(compiler, [...flags, `-I${packagePath('native')}`, ...sources], { stdio: ['ignore', 'pipe', 'pipe'] });
}, 300_000);
