// SPDX-License-Identifier: Apache-2.0
// Debian packages: which are missing, and getting them from Debian's archive by apt-get.

import { accessSync, constants, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { delimiter, isAbsolute, join } from 'node:path';
import { ask, cacheFolder, run, SetupError, say } from './log.mjs';
import { guestKernelPackage } from './requirements.mjs';

/** Another apt-get may be at work (first boot's unattended upgrades, a second set-up): wait for its lock instead of failing. */
const aptOptions = ['-o', 'DPkg::Lock::Timeout=120', '-o', 'Acquire::Retries=3', '-qq'];
const aptEnvironment = { DEBIAN_FRONTEND: 'noninteractive', LC_ALL: 'C.UTF-8' };

const kernelFolder = join(cacheFolder, 'guest', 'kernel');
let listsAreFresh = false;

/**
 * Installs what is missing of `packages`, or throws with the line to type.
 * @param {readonly import('./requirements.mjs').DebianPackage[]} packages
 */
export function installMissing(packages) {
  const missing = packages.filter((wanted) => !isThere(wanted));
  if (missing.length === 0) return;
  const names = missing.map((wanted) => wanted.name);
  const reasons = missing.map((wanted) => `${wanted.name} (${wanted.why})`).join(', ');
  if (!exists('apt-get')) {
    throw new SetupError(
      `this machine has no apt-get. Install what these Debian packages hold, then run the command again:\n  ${reasons}`,
    );
  }
  if (!isRoot()) {
    throw new SetupError(
      `missing: ${reasons}\nOnly root can install them. Run this, then the command again:\n  apt-get install --no-install-recommends ${names.join(' ')}`,
    );
  }
  say(`installing Debian packages: ${reasons}`);
  withFreshLists(() =>
    run('apt-get', [...aptOptions, 'install', '-y', '--no-install-recommends', ...names], { env: aptEnvironment }),
  );
  const still = missing.filter((wanted) => !isThere(wanted)).map((wanted) => wanted.name);
  if (still.length > 0)
    throw new SetupError(`apt-get installed ${still.join(', ')}, but the programs are still not found in PATH`);
}

/** Unpacks Debian's newest cloud kernel into .cache/guest/kernel. It is never installed on this machine. */
export function unpackGuestKernel() {
  if (hasKernel(kernelFolder)) return;
  const next = `put a kernel's boot/ and lib/modules/ under ${kernelFolder}, as \`dpkg-deb -x\` of ${guestKernelPackage}'s kernel gives them`;
  if (!exists('apt-get') || !exists('dpkg-deb')) {
    throw new SetupError(
      `the guests need a Linux kernel, and this machine has no apt-get to download one. Do it by hand: ${next}`,
    );
  }
  say(`downloading and unpacking Debian's cloud kernel for the guests (not installed, ${kernelFolder} only)`);
  const work = join(cacheFolder, 'guest', `kernel.partial.${process.pid}`);
  mkdirSync(work, { recursive: true });
  try {
    withFreshLists(() =>
      run('apt-get', [...aptOptions, 'download', newestKernelPackage()], { cwd: work, env: aptEnvironment }),
    );
    const archive = readdirSync(work).find((name) => name.endsWith('.deb'));
    if (archive === undefined) throw new SetupError(`apt-get download left no package in ${work}; ${next}`);
    run('dpkg-deb', ['-x', archive, 'unpacked'], { cwd: work });
    if (!hasKernel(join(work, 'unpacked'))) throw new SetupError(`${archive} holds no boot/vmlinuz-*; ${next}`);
    rmSync(kernelFolder, { recursive: true, force: true });
    renameSync(join(work, 'unpacked'), kernelFolder);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** The meta package depends on the real one, whose name carries the version. */
function newestKernelPackage() {
  const record = ask('apt-cache', ['show', '--no-all-versions', guestKernelPackage]) ?? '';
  const real = /^Depends:.*?\b(linux-image-[^\s,]+)/m.exec(record)?.[1];
  if (real === undefined) throw new SetupError(`apt knows no ${guestKernelPackage}: are Debian's sources in /etc/apt?`);
  return real;
}

/** Tries with the package lists as they are, then once more after `apt-get update`: an old list names files that the archive no longer has. */
function withFreshLists(action) {
  try {
    action();
  } catch (error) {
    if (listsAreFresh || !isRoot()) throw error;
    say('refreshing the package lists (apt-get update), because the ones here are missing or too old');
    run('apt-get', [...aptOptions, 'update'], { env: aptEnvironment });
    listsAreFresh = true;
    action();
  }
}

function hasKernel(folder) {
  const boot = join(folder, 'boot');
  return (
    existsSync(boot) &&
    readdirSync(boot).some((name) => name.startsWith('vmlinuz-')) &&
    existsSync(join(folder, 'lib', 'modules'))
  );
}

function isThere({ present, isStatic }) {
  const found = present.map(find);
  return found.every((path) => path !== undefined && (isStatic !== true || isStaticProgram(path)));
}

function exists(command) {
  return find(command) !== undefined;
}

/** `what` itself when it is the path of a file that is there, the path of a command in PATH, or undefined. */
function find(what) {
  if (isAbsolute(what)) return existsSync(what) ? what : undefined;
  const candidates = (process.env.PATH ?? '').split(delimiter).map((folder) => join(folder, what));
  return candidates.find(isExecutable);
}

/** A dynamic program names its loader by its path, which is /lib64/ld-linux-x86-64.so.2 or the like. */
function isStaticProgram(path) {
  return !readFileSync(path).includes('/ld-linux');
}

function isExecutable(path) {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    // Whatever keeps us from running it (ENOENT, EACCES): it is not there for us.
    return false;
  }
}

function isRoot() {
  return process.getuid?.() === 0;
}
