// SPDX-License-Identifier: Apache-2.0
// Set-up says one line a step on stderr, because stdout belongs to the command that set-up precedes. The output of the programs
// it runs goes to .cache/setup.log, whose end is shown when one fails.

import { spawnSync } from 'node:child_process';
import { appendFileSync, closeSync, mkdirSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('../../', import.meta.url));
export const cacheFolder = join(root, '.cache');
const logFile = join(cacheFolder, 'setup.log');
const shownLines = 30;

/** A set-up failure that is told to the user as it stands, without a stack. */
export class SetupError extends Error {}

/** @param {string} text */
export function say(text) {
  process.stderr.write(`set-up: ${text}\n`);
}

/**
 * Runs a program from the project's root (or `cwd`), its output in the log. Throws a SetupError with the log's end unless it exits with 0.
 * @param {string} program
 * @param {readonly string[]} args
 * @param {{ cwd?: string, env?: Record<string, string> }} [options]
 */
export function run(program, args, options = {}) {
  mkdirSync(cacheFolder, { recursive: true });
  const before = logSize();
  appendFileSync(logFile, `\n$ ${program} ${args.join(' ')}\n`);
  const logFd = openSync(logFile, 'a');
  try {
    const result = spawnSync(program, args, {
      cwd: options.cwd ?? root,
      env: { ...process.env, ...options.env },
      stdio: ['ignore', logFd, logFd],
    });
    if (result.error) throw new SetupError(`${program} could not be started: ${result.error.message}`);
    if (result.status !== 0) throw new SetupError(failure(program, args, result, before));
  } finally {
    closeSync(logFd);
  }
}

/**
 * Runs a program and returns its stdout; undefined when it cannot be run or exits with anything but 0.
 * @param {string} program
 * @param {readonly string[]} args
 */
export function ask(program, args) {
  const result = spawnSync(program, args, { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
  return result.status === 0 ? result.stdout : undefined;
}

function failure(program, args, result, before) {
  const ended = result.signal === null ? `exited with ${result.status}` : `was killed by ${result.signal}`;
  const output = readFileSync(logFile).subarray(before).toString('utf8').trimEnd().split('\n').slice(-shownLines);
  return `\`${program} ${args.join(' ')}\` ${ended}. The end of ${logFile}:\n  ${output.join('\n  ')}`;
}

function logSize() {
  try {
    return readFileSync(logFile).length;
  } catch (error) {
    // ENOENT: the first run.
    if (error.code === 'ENOENT') return 0;
    throw error;
  }
}
