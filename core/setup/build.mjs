// SPDX-License-Identifier: Apache-2.0
// npm dependencies, the native build and the TypeScript build: each done only when its inputs have changed.

import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { root, run, say } from './log.mjs';

const distFolder = join(root, 'dist');
const stampFile = join(distFolder, '.built-from');

/** `npm ci` when node_modules is missing or older than the lock file. */
export function installDependencies() {
  const installed = join(root, 'node_modules', '.package-lock.json');
  if (existsSync(installed) && statSync(installed).mtimeMs >= statSync(join(root, 'package-lock.json')).mtimeMs) return;
  say('installing npm dependencies exactly as in package-lock.json (npm ci)');
  // --include=dev: the compilers are development dependencies, and NODE_ENV=production would leave them out.
  run('npm', ['ci', '--no-audit', '--no-fund', '--include=dev']);
}

/** The addon and the stager; the script itself skips what is up to date. */
export function buildNative() {
  if (!existsSync(join(root, 'build', 'Release', 'ratchet.node'))) say('compiling the native addon and the stager');
  run(process.execPath, [join('core', 'setup', 'build-native.mjs')]);
}

/** dist/, when the sources are not the ones it was built from. */
export function buildTypeScript() {
  const sources = typeScriptSources();
  const digest = digestOf(sources);
  if (existsSync(stampFile) && readFileSync(stampFile, 'utf8') === digest) return;
  say('compiling TypeScript into dist/');
  run(process.execPath, [join('node_modules', 'typescript', 'bin', 'tsc'), '-p', 'tsconfig.build.json']);
  removeOrphans();
  run(process.execPath, [join('core', 'setup', 'bundle-cli.mjs')]);
  writeFileSync(stampFile, digest);
}

function typeScriptSources() {
  const { include } = JSON.parse(readFileSync(join(root, 'tsconfig.build.json'), 'utf8'));
  return include.flatMap((folder) => filesUnder(join(root, folder))).filter((file) => file.endsWith('.ts'));
}

/** By content, not by time: a checkout of another commit gives files any time at all. */
function digestOf(sources) {
  const hash = createHash('sha256');
  for (const file of [
    ...sources,
    join(root, 'tsconfig.json'),
    join(root, 'tsconfig.build.json'),
    join(root, 'package-lock.json'),
    join(root, 'core', 'setup', 'bundle-cli.mjs'),
  ]) {
    hash
      .update(`${relative(root, file)}\0`)
      .update(readFileSync(file))
      .update('\0');
  }
  return hash.digest('hex');
}

/** Output whose source was deleted or renamed would otherwise stay, and be published. What the sources import from elsewhere has output too. */
function removeOrphans() {
  for (const file of filesUnder(distFolder)) {
    const match = /^(.*?)(\.d\.ts|\.js)(\.map)?$/.exec(relative(distFolder, file));
    if (match?.[1] !== undefined && !existsSync(join(root, `${match[1]}.ts`))) rmSync(file);
  }
}

/** Of a folder; of a file, itself. */
function filesUnder(folder) {
  if (!existsSync(folder)) return [];
  if (statSync(folder).isFile()) return [folder];
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
    .sort();
}
