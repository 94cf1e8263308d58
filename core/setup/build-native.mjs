// SPDX-License-Identifier: Apache-2.0
// Builds the addon and the stager into build/Release, or says what is missing. Plain JavaScript on purpose: it runs before anything of ours is built.
// Nothing is downloaded: the headers are those of the Node that runs this.

import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, realpathSync, statSync, utimesSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));
const products = ['ratchet.node', 'ratchet-stager', 'ratchet-probe'].map((name) => `build/Release/${name}`);

// `--force` starts from an empty build folder; otherwise make rebuilds what changed.
if (process.argv.includes('--force')) build(['rebuild']);
else if (!upToDate()) build(['configure', 'build']);

/** True when all products are newer than every source, the build script and the Node that will load them. */
function upToDate() {
  const built = products.map((product) => modified(join(root, product)));
  return Math.min(...built) > Math.max(newestSource(), modified(process.execPath));
}

function newestSource() {
  const sources = readdirSync(join(root, 'native'), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && /\.(cc|h)$/.test(entry.name))
    .map((entry) => modified(join(entry.parentPath ?? entry.path, entry.name)));
  return Math.max(...sources, modified(join(root, 'binding.gyp')), modified(fileURLToPath(import.meta.url)));
}

function modified(path) {
  return statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;
}

function build(commands) {
  const nodeDir = headersPrefix();
  const missing = [
    ...['g++', 'make', 'python3'].filter((tool) => !onPath(tool)).map((tool) => `${tool} (Debian package ${tool})`),
    ...(nodeDir === undefined
      ? [
          `the headers of Node ${process.version}: include/node/node_api.h beside ${process.execPath} (Debian package libnode-dev, or Node's own archive)`,
        ]
      : []),
  ];
  if (missing.length > 0) fail(`the native part cannot be built, missing: ${missing.join(', ')}`);

  const nodeGyp = nodeGypScript();
  if (nodeGyp === undefined) fail('node-gyp is not installed - run `npm ci` first');
  const result = spawnSync(process.execPath, [nodeGyp, ...commands, `--nodedir=${nodeDir}`, '--loglevel=warn'], {
    cwd: root,
    // binding.gyp asks `node` where node-addon-api is: make that the Node that runs this.
    env: { ...process.env, PATH: `${dirname(process.execPath)}:${process.env.PATH ?? ''}` },
    stdio: ['ignore', 'pipe', 'pipe'],
    encoding: 'utf8',
    maxBuffer: 64 * 1024 * 1024,
  });
  if (result.status !== 0) fail(`node-gyp failed:\n${result.stdout ?? ''}${result.stderr ?? ''}`);
  const absent = products.filter((product) => !existsSync(join(root, product)));
  if (absent.length > 0) fail(`node-gyp succeeded without making ${absent.join(' and ')}`);
  // make leaves a product alone that a change did not touch; it is up to date all the same.
  const now = new Date();
  for (const product of products) utimesSync(join(root, product), now, now);
}

/** The prefix whose include/node belongs to the running Node: as installed, or the build tree's. */
function headersPrefix() {
  const candidates = [dirname(dirname(process.execPath)), dirname(dirname(realpathSync(process.execPath)))];
  return candidates.find((prefix) => existsSync(join(prefix, 'include/node/node_api.h')));
}

function onPath(tool) {
  return (process.env.PATH ?? '').split(':').some((folder) => folder !== '' && existsSync(join(folder, tool)));
}

function nodeGypScript() {
  try {
    return createRequire(import.meta.url).resolve('node-gyp/bin/node-gyp.js');
  } catch {
    return undefined;
  }
}

function fail(message) {
  process.stderr.write(`ratchet: ${message}\n`);
  process.exit(1);
}
