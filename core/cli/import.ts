// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import { RatchetError } from '../errors.ts';
import { importOci } from '../policy/imports/oci.ts';
import { collect } from './collect.ts';
import { complain, print } from './output.ts';
import { chosenArch } from './stage-filter.ts';

interface ImportOptions {
  readonly from: string;
  readonly arch?: string;
  readonly capability: readonly string[];
}

const formats: ReadonlySet<string> = new Set(['oci', 'docker']);

export function addImport(program: Command): void {
  program
    .command('import')
    .description('Print a seccomp profile of another format as a ratchet profile; what is lost goes to stderr.')
    .argument('<file>', 'the file to translate')
    .requiredOption('--from <format>', 'oci (runtime-spec linux.seccomp) or docker (Docker, Podman)')
    .option('--arch <arch>', 'x86_64, aarch64 or riscv64 (default: this machine)')
    .option('--capability <name>', 'a capability that the program has, e.g. CAP_SYS_ADMIN (repeatable)', collect, [])
    .addHelpText(
      'after',
      '\nExample:\n  ratchet import --from docker seccomp.json > mine.yaml && ratchet check mine.yaml',
    )
    .action((file: string, options: ImportOptions) => {
      if (!formats.has(options.from))
        throw new RatchetError('ARGUMENT_INVALID', `there is no importer for ${options.from}`, {
          next: 'choose oci or docker',
        });
      const arch = chosenArch(options.arch);
      const { profileText, losses } = importOci(readText(file), { file, arch, capabilities: options.capability });
      for (const loss of losses) complain(`${file}: ${loss}`);
      print(profileText.trimEnd());
    });
}

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    const { code = 'EIO' } = cause as NodeJS.ErrnoException;
    throw new RatchetError('PROFILE_NOT_FOUND', `${file} could not be read`, {
      errno: code,
      next: 'check the path',
      cause,
    });
  }
}
