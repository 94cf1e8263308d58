// SPDX-License-Identifier: Apache-2.0
import type { Command } from 'commander';
import { compileFilter, compileProfile } from '../compiler/index.ts';
import { RatchetError } from '../errors.ts';
import type { Arch, ResolvedProfile } from '../policy/types.ts';
import { countsOption } from '../profile-counts.ts';
import { decodeProgram, describeAction, disassemble } from '../simulator/index.ts';
import { verifyFilter } from '../verifier/index.ts';
import { loadAnyProfile } from './any-profile.ts';
import { collect } from './collect.ts';
import { readRawProgram } from './raw-program.ts';
import { chosenArch, chosenFilter, chosenStage } from './stage-filter.ts';
import { writeOutput } from './write-output.ts';

interface CompileOptions {
  readonly stage?: string;
  readonly role?: string;
  readonly arch?: string;
  readonly feature: readonly string[];
  readonly installed?: true;
  readonly format: string;
  readonly output: string;
}

export function addCompile(program: Command): void {
  program
    .command('compile')
    .description('Compile one stage of a profile to a seccomp program, proven to be the policy.')
    .argument(
      '<profile>',
      'a shipped profile, a profile file, an OCI or Docker seccomp JSON file, or a raw program to list',
    )
    .option('--stage <stage>', 'the stage; may be left out when there is only one')
    .option('--role <role>', 'the rules for threads of this role')
    .option('--arch <arch>', 'x86_64, aarch64 or riscv64 (default: this machine)')
    .option('--feature <name>', 'with this feature of the profile (repeatable)', collect, [])
    .option(
      '--installed',
      'the program that `run` installs, and `attest` tells the SHA-256 of: what the broker decides is left to it, and what earlier stages refuse is left out',
    )
    .option('--format <format>', 'raw (struct sock_filter), asm, c or json', 'raw')
    .requiredOption('-o, --output <file>', 'where to; - for standard output')
    .action((name: string, options: CompileOptions) => {
      const arch = chosenArch(options.arch);
      const text = render(readRawProgram(name) ?? compileStage(name, arch, options), arch, options.format);
      writeOutput(options.output, text);
    });
}

function compileStage(name: string, arch: Arch, options: CompileOptions): Uint8Array {
  const profile = loadAnyProfile(name, { arch, features: options.feature });
  if (options.installed === true) return installedProgram(profile, options);
  const filter = chosenFilter(chosenStage(profile, options.stage), options.role);
  const { program } = compileFilter(filter, countsOption(profile));
  verifyFilter(program, filter);
  return program;
}

function installedProgram(profile: ResolvedProfile, { stage, role }: CompileOptions): Uint8Array {
  const { name } = chosenStage(profile, stage);
  // Refuses a role that the stage does not have.
  chosenFilter(chosenStage(profile, stage), role);
  const compiled = compileProfile(profile, countsOption(profile)).stages.find((candidate) => candidate.name === name);
  const program = role === undefined ? compiled?.program : compiled?.roles[role]?.program;
  if (program === undefined) throw new Error(`stage ${name} was not compiled`);
  return program;
}

function render(program: Uint8Array, arch: Arch, format: string): Uint8Array | string {
  switch (format) {
    case 'raw':
      return program;
    case 'asm':
      return `${disassemble(program, arch).join('\n')}\n`;
    case 'json':
      return `${JSON.stringify(decodeProgram(program))}\n`;
    case 'c':
      return `${decodeProgram(program)
        .map(
          ({ code, jt, jf, k }) =>
            `{ 0x${code.toString(16)}, ${jt}, ${jf}, 0x${k.toString(16)} },${code === 6 ? ` /* ${describeAction(k)} */` : ''}`,
        )
        .join('\n')}\n`;
    default:
      throw new RatchetError('ARGUMENT_INVALID', `there is no format ${format}`, {
        next: 'choose raw, asm, c or json',
      });
  }
}
