// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Command } from 'commander';
import { RatchetError } from '../errors.ts';
import { importFirecracker } from '../formats/import/firecracker.ts';
import { importMinijail } from '../formats/import/minijail.ts';
import { type ImportOptions, type ImportResult, importOci } from '../formats/import/oci.ts';
import { importProgram } from '../formats/import/program.ts';
import { parseSeccompTools } from '../formats/import/seccomp-tools.ts';
import { collect } from './collect.ts';
import { complain, print } from './output.ts';
import { chosenArch } from './stage-filter.ts';

interface CommandOptions {
  readonly from: string;
  readonly arch?: string;
  readonly capability: readonly string[];
}

type Importer = (bytes: Uint8Array, options: ImportOptions) => ImportResult;

/** By the name that `--from` takes. */
const importers: Readonly<Record<string, Importer>> = {
  oci: (bytes, options) => importOci(textOf(bytes), options),
  docker: (bytes, options) => importOci(textOf(bytes), options),
  firecracker: (bytes, options) => importFirecracker(textOf(bytes), options),
  minijail: (bytes, options) =>
    importMinijail(textOf(bytes), { ...options, include: (path) => includeBeside(options.file, path) }),
  'seccomp-tools': (bytes, options) => importProgram(parseSeccompTools(textOf(bytes), options.file), options),
  raw: importProgram,
};

export function addImport(program: Command): void {
  program
    .command('import')
    .description('Print a seccomp profile of another format as a ratchet profile; what is lost goes to stderr.')
    .argument('<file>', 'the file to translate')
    .requiredOption('--from <format>', `one of ${Object.keys(importers).join(', ')}`)
    .option('--arch <arch>', 'x86_64, aarch64 or riscv64 (default: this machine)')
    .option('--capability <name>', 'a capability that the program has, e.g. CAP_SYS_ADMIN (repeatable)', collect, [])
    .addHelpText(
      'after',
      `
Formats:
  oci            runtime-spec linux.seccomp, a whole config.json, or a Kubernetes SeccompProfile
  docker         the JSON of Docker, Podman and containers/common
  firecracker    the JSON of Firecracker's seccompiler or of rust-vmm: thread classes become roles
  minijail       a .policy file of minijail (crosvm, ChromeOS, Android), with what it includes
  seccomp-tools  the listing that seccomp-tools dump or disasm prints
  raw            a BPF program: consecutive struct sock_filter

A program is read back by what it decides. Without losses, the profile is proven to decide as the program does.

Examples:
  ratchet import --from docker seccomp.json > mine.yaml && ratchet check mine.yaml
  seccomp-tools dump ./program > listing && ratchet import --from seccomp-tools listing`,
    )
    .action((file: string, options: CommandOptions) => {
      const importer = Object.hasOwn(importers, options.from) ? importers[options.from] : undefined;
      if (importer === undefined)
        throw new RatchetError('ARGUMENT_INVALID', `there is no importer for ${options.from}`, {
          next: `choose one of ${Object.keys(importers).join(', ')}`,
        });
      const arch = chosenArch(options.arch);
      const { profileText, losses } = importer(readBytes(file), { file, arch, capabilities: options.capability });
      for (const loss of losses) complain(loss.startsWith(`${file}:`) ? loss : `${file}: ${loss}`);
      print(profileText.trimEnd());
    });
}

function textOf(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}

/** `@include ./common.policy` is looked for beside the file that includes it. */
function includeBeside(file: string, path: string): { readonly text: string; readonly file: string } {
  const included = join(dirname(file), path);
  return { text: textOf(readBytes(included)), file: included };
}

function readBytes(file: string): Uint8Array {
  try {
    return readFileSync(file);
  } catch (cause) {
    const { code = 'EIO' } = cause as NodeJS.ErrnoException;
    throw new RatchetError('PROFILE_NOT_FOUND', `${file} could not be read`, {
      errno: code,
      next: 'check the path',
      cause,
    });
  }
}
