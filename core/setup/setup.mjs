// SPDX-License-Identifier: Apache-2.0
// `node core/setup/setup.mjs demo|test`: makes a clone ready for `npm run demo` or `npm test`. It runs before anything is installed, so it
// is plain JavaScript with Node's own modules. Every step does nothing when its result is already there.

import { existsSync } from 'node:fs';
import { buildNative, buildTypeScript, installDependencies } from './build.mjs';
import { installMissing, unpackGuestKernel } from './debian.mjs';
import { SetupError, say } from './log.mjs';
import { oldestNode, requiredPackages } from './requirements.mjs';

const started = Date.now();
try {
  const packages = packagesFor(process.argv.slice(2));
  checkMachine();
  installMissing(packages);
  unpackGuestKernel();
  installDependencies();
  buildNative();
  buildTypeScript();
  say(`ready (${((Date.now() - started) / 1000).toFixed(1)} s)`);
} catch (error) {
  if (!(error instanceof SetupError)) throw error;
  say(error.message);
  process.exitCode = 1;
}

function packagesFor(args) {
  const [purpose] = args;
  if (args.length !== 1 || (purpose !== 'demo' && purpose !== 'test')) {
    throw new SetupError('usage: node core/setup/setup.mjs demo|test');
  }
  return requiredPackages[purpose];
}

function checkMachine() {
  if (process.platform !== 'linux')
    throw new SetupError(`ratchet needs Linux (seccomp); this is ${process.platform}. Use a Linux machine or VM.`);
  if (process.arch !== 'x64')
    throw new SetupError(`the demo and the tests need an x86_64 machine; this is ${process.arch}.`);
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  const [oldestMajor, oldestMinor] = oldestNode;
  if (major < oldestMajor || (major === oldestMajor && minor < oldestMinor)) {
    throw new SetupError(
      `Node ${process.versions.node} is too old: install Node ${oldestMajor}.${oldestMinor} or newer.`,
    );
  }
  if (!existsSync('/proc/self/status'))
    throw new SetupError('/proc is not mounted: mount it, ratchet reads the state of every thread there.');
}
