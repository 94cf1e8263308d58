// SPDX-License-Identifier: Apache-2.0
// The matrix on another Debian's QEMU and C library. Its packages are downloaded from the archive that apt is configured for, checked by apt, unpacked
// under .cache and never installed: the run has a mount namespace of its own, in which they lie over /usr. What they do not have is this machine's.
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { exitOf, shellStatus } from '../../core/launch/exit-status.ts';

/** QEMU, its modules, and what rows run beside it. */
const packages = [
  ...['qemu-system-x86', 'qemu-utils', 'qemu-system-modules-spice', 'qemu-system-modules-opengl', 'qemu-block-extra'],
  ...['passt', 'virtiofsd', 'swtpm', 'strace'],
] as const;
const marker = 'RATCHET_MATRIX_DEBIAN';

/** The suite that this process runs on; undefined on the machine's own. */
export function otherDebian(): string | undefined {
  return process.env[marker];
}

/**
 * Runs this command again with the suite's programs in the place of the machine's. Returns the exit status of that run, or undefined when this is it.
 * @param suite as Debian's archive names it: `trixie`, `bookworm-backports`, `sid`.
 */
export async function onDebian(suite: string, cacheFolder: string): Promise<number | undefined> {
  if (otherDebian() === suite) return undefined;
  if (!/^[a-z-]+$/.test(suite)) throw new Error(`"${suite}" is no suite of Debian's`);
  const usr = join(unpackSuite(suite, join(cacheFolder, 'debian', suite)), 'usr');
  const mountAndRun = 'mount -t overlay overlay -o "lowerdir=$0:/usr" /usr && exec "$@"';
  const words = [process.execPath, ...process.argv.slice(1)];
  const child = spawn(
    'unshare',
    ['--mount', '--propagation', 'private', '--', 'sh', '-c', mountAndRun, usr, ...words],
    { stdio: 'inherit', env: { ...process.env, [marker]: suite } },
  );
  // Ctrl-C reaches both; the inner one cleans up.
  process.on('SIGINT', () => undefined);
  process.on('SIGTERM', () => void child.kill('SIGTERM'));
  return shellStatus(await exitOf(child));
}

/** The folder with the suite's files. Done once; delete it to have newer packages. */
function unpackSuite(suite: string, folder: string): string {
  const root = join(folder, 'root');
  if (existsSync(root)) return root;
  rmSync(folder, { recursive: true, force: true });
  const apt = aptFor(suite, folder);
  apt('apt-get', '-qq', 'update');
  apt('apt-get', '-qq', 'install', '-y', '--no-install-recommends', '--download-only', ...packages);
  const archives = join(folder, 'archives');
  for (const name of readdirSync(archives).filter((each) => each.endsWith('.deb')))
    execFileSync('dpkg-deb', ['-x', join(archives, name), `${root}.part`], { stdio: ['ignore', 'ignore', 'inherit'] });
  rmSync(archives, { recursive: true });
  renameSync(`${root}.part`, root);
  return root;
}

/** The newest cloud kernel of a suite, unpacked under the folder. Done once. @returns its boot folder. */
export function unpackKernel(suite: string, folder: string): string {
  const boot = join(folder, 'kernel', 'boot');
  if (existsSync(boot)) return boot;
  const apt = aptFor(suite, join(folder, 'kernel-lists'));
  apt('apt-get', '-qq', 'update');
  // The meta package depends on the real one, whose name carries the version.
  const record = apt('apt-cache', 'show', '--no-all-versions', 'linux-image-cloud-amd64');
  const name = /^Depends:.*?\b(linux-image-[^\s,]+)/m.exec(record)?.[1];
  if (name === undefined) throw new Error(`${suite} has no cloud kernel`);
  const part = join(folder, 'kernel.part');
  mkdirSync(part, { recursive: true });
  apt(
    'sh',
    '-c',
    `cd '${part}' && apt-get -qq -o APT::Sandbox::User=root download ${name} && dpkg-deb -x ./*.deb . && rm ./*.deb`,
  );
  rmSync(join(folder, 'kernel-lists'), { recursive: true });
  renameSync(part, join(folder, 'kernel'));
  return boot;
}

/** apt with lists, cache and state of its own, on a machine where nothing is installed. */
function aptFor(suite: string, folder: string): (command: string, ...args: readonly string[]) => string {
  for (const each of ['lists/partial', 'archives/partial']) mkdirSync(join(folder, each), { recursive: true });
  const inFolder = (name: string, text: string): string => {
    writeFileSync(join(folder, name), text);
    return join(folder, name);
  };
  const release = suite.replace(/-.*/, '');
  const keyring = '/usr/share/keyrings/debian-archive-keyring.gpg';
  const lines = [...new Set([release, suite])].map((each) => `deb [signed-by=${keyring}] ${mirror()} ${each} main\n`);
  const settings = {
    'Dir::Etc::sourcelist': inFolder('sources.list', lines.join('')),
    'Dir::Etc::sourceparts': '-',
    'Dir::State::lists': join(folder, 'lists'),
    'Dir::State::status': inFolder('status', ''),
    'Dir::Cache': folder,
    'Dir::Cache::archives': join(folder, 'archives'),
    ...(suite === release ? {} : { 'APT::Default-Release': suite }),
  };
  const text = Object.entries(settings).map(([key, value]) => `${key} "${value}";\n`);
  const config = inFolder('apt.conf', text.join(''));
  return (command, ...args) =>
    execFileSync(command, args, {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...process.env, APT_CONFIG: config, DEBIAN_FRONTEND: 'noninteractive' },
    });
}

/** Where this machine's apt has Debian's packages from. */
function mirror(): string {
  const format = ['--format', '$(REPO_URI) $(ORIGIN)', 'Created-By: Packages'];
  const targets = execFileSync('apt-get', ['indextargets', ...format], { encoding: 'utf8' });
  const found = /^(\S+) Debian$/m.exec(targets)?.[1];
  if (found === undefined) throw new Error('apt has no lists of Debian packages: run `apt-get update`');
  return found;
}
