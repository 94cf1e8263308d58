// SPDX-License-Identifier: Apache-2.0
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { RatchetError } from '../errors.ts';

export interface GuestKernel {
  /** The bootable image. */
  readonly image: string;
  readonly version: string;
  /** Its lib/modules/VERSION. */
  readonly modulesFolder: string;
}

/** The kernel that set-up unpacked under the cache folder, or a cloud kernel installed on this machine. @throws RatchetError SETUP_MISSING. */
export function findGuestKernel(cacheFolder: string): GuestKernel {
  const unpacked = kernelsUnder(join(cacheFolder, 'guest', 'kernel'));
  const installed = kernelsUnder('/').filter(({ version }) => version.includes('cloud'));
  const kernel = unpacked.at(-1) ?? installed.at(-1);
  if (kernel !== undefined) return kernel;
  throw new RatchetError('SETUP_MISSING', `there is no Linux kernel for the guest under ${cacheFolder}/guest/kernel`, {
    next: 'run `node core/setup/setup.mjs demo`',
  });
}

/** Oldest first, as far as their names sort. */
function kernelsUnder(root: string): readonly GuestKernel[] {
  const boot = join(root, 'boot');
  if (!existsSync(boot)) return [];
  const prefix = 'vmlinuz-';
  return readdirSync(boot)
    .filter((name) => name.startsWith(prefix))
    .sort((a, b) => a.localeCompare(b, 'en', { numeric: true }))
    .map((name) => {
      const version = name.slice(prefix.length);
      return { image: join(boot, name), version, modulesFolder: join(root, 'lib', 'modules', version) };
    })
    .filter(({ modulesFolder }) => existsSync(modulesFolder));
}

/**
 * The files of the wanted modules and of all that they depend on, in the order to load them. A package that was only unpacked has no
 * modules.dep, so each module's own `depends=` (its .modinfo section) is read.
 */
export function resolveModules(kernel: GuestKernel, wanted: readonly string[]): readonly string[] {
  const files = new Map<string, string>();
  for (const path of readdirSync(kernel.modulesFolder, { recursive: true, encoding: 'utf8' })) {
    if (path.endsWith('.ko')) files.set(moduleName(path), join(kernel.modulesFolder, path));
  }
  const builtIn = new Set(
    readFileSync(join(kernel.modulesFolder, 'modules.builtin'), 'utf8')
      .split('\n')
      .map((path) => moduleName(path)),
  );
  const ordered: string[] = [];
  const load = (name: string): void => {
    if (builtIn.has(name)) return;
    const file = files.get(name);
    if (file === undefined)
      throw new RatchetError('SETUP_MISSING', `kernel ${kernel.version} has no module ${name} (an uncompressed .ko)`, {
        next: "use Debian 12's cloud kernel: `node core/setup/setup.mjs demo` fetches it",
      });
    if (ordered.includes(file)) return;
    for (const dependency of dependenciesOf(file)) load(dependency);
    ordered.push(file);
  };
  for (const name of wanted) load(name);
  return ordered;
}

/** File names may have dashes where the module's name has underscores. */
function moduleName(path: string): string {
  return basename(path, '.ko').replaceAll('-', '_');
}

function dependenciesOf(file: string): readonly string[] {
  const match = /\0depends=([\w,-]*)\0/.exec(readFileSync(file, 'latin1'));
  return (match?.[1] ?? '')
    .split(',')
    .filter((name) => name !== '')
    .map(moduleName);
}
