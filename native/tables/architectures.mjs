// SPDX-License-Identifier: Apache-2.0
// Where each architecture's kernel headers are on Debian, and how to make the machine's own gcc read them: the headers look at the
// compiler's architecture macro, and all three are LP64, so sizes (and with them ioctl numbers) come out right without a cross compiler.

import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';

/** @typedef {'x86_64' | 'aarch64' | 'riscv64'} Arch */

/** @type {Readonly<Record<Arch, { folders: readonly string[], defines: readonly string[], debianPackage: string }>>} */
export const architectures = {
  x86_64: {
    folders: ['/usr/include/x86_64-linux-gnu', '/usr/include'],
    defines: [],
    debianPackage: 'linux-libc-dev',
  },
  aarch64: {
    folders: ['/usr/aarch64-linux-gnu/include'],
    defines: ['-U__x86_64__', '-D__aarch64__'],
    debianPackage: 'linux-libc-dev-arm64-cross',
  },
  riscv64: {
    folders: ['/usr/riscv64-linux-gnu/include'],
    defines: ['-U__x86_64__', '-D__riscv', '-D__riscv_xlen=64'],
    debianPackage: 'linux-libc-dev-riscv64-cross',
  },
};

/** @type {readonly Arch[]} */
export const archNames = ['x86_64', 'aarch64', 'riscv64'];

/**
 * The architectures whose headers are on this machine.
 * @returns {readonly Arch[]}
 */
export function presentArchitectures() {
  return archNames.filter((arch) => existsSync(`${architectures[arch].folders[0]}/asm/unistd.h`));
}

/**
 * gcc options that make only this architecture's kernel headers visible.
 * @param {Arch} arch
 */
export function headerOptions(arch) {
  const { folders, defines } = architectures[arch];
  const builtin = execFileSync('gcc', ['-print-file-name=include'], { encoding: 'utf8' }).trim();
  return [
    '-nostdinc',
    '-ffreestanding',
    ...defines,
    ...folders.flatMap((folder) => ['-isystem', folder]),
    '-isystem',
    builtin,
  ];
}

/**
 * All object-like macros of these headers: name to body. Headers that the architecture lacks are left out.
 * @param {Arch} arch
 * @param {readonly string[]} headers
 * @returns {ReadonlyMap<string, string>}
 */
export function macrosOf(arch, headers) {
  const source = presentHeaders(arch, headers)
    .map((header) => `#include <${header}>\n`)
    .join('');
  const text = execFileSync('gcc', ['-E', '-dM', ...headerOptions(arch), '-x', 'c', '-'], {
    input: source,
    encoding: 'utf8',
    maxBuffer: 1 << 26,
  });
  const macros = new Map();
  for (const line of text.split('\n')) {
    const match = /^#define (\w+) (.+)$/.exec(line);
    if (match?.[1] !== undefined && match[2] !== undefined) macros.set(match[1], match[2]);
  }
  return macros;
}

/**
 * @param {Arch} arch
 * @param {readonly string[]} headers
 */
export function presentHeaders(arch, headers) {
  return headers.filter((header) => architectures[arch].folders.some((folder) => existsSync(`${folder}/${header}`)));
}

/**
 * Version of the Debian package the headers came from, for the generated file's first lines.
 * @param {string} debianPackage
 */
export function packageVersion(debianPackage) {
  try {
    // biome-ignore lint/suspicious/noTemplateCurlyInString: dpkg-query's own format language.
    return execFileSync('dpkg-query', ['-W', '-f', '${Version}', debianPackage], { encoding: 'utf8' });
  } catch {
    return 'of unknown version';
  }
}
