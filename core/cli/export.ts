// SPDX-License-Identifier: Apache-2.0
import type { Command } from 'commander';
import { RatchetError } from '../errors.ts';
import { type Exported, exportFormats, exportStage } from '../formats/export/index.ts';
import { loadAnyProfile } from './any-profile.ts';
import { collect } from './collect.ts';
import { complain, printJson } from './output.ts';
import { chosenArch, chosenFilter, chosenStage } from './stage-filter.ts';
import { writeOutput } from './write-output.ts';

interface CommandOptions {
  readonly to: string;
  readonly stage?: string;
  readonly role?: string;
  readonly arch?: string;
  readonly feature: readonly string[];
  readonly listener?: string;
  readonly output: string;
  readonly json?: boolean;
}

export function addExport(program: Command): void {
  program
    .command('export')
    .description("Write one stage in another program's format; what that cannot say goes to stderr.")
    .argument('<profile>', 'a shipped profile, or a file')
    .requiredOption('--to <format>', `one of ${exportFormats.join(', ')}`)
    .option('--stage <stage>', 'the stage; may be left out when there is only one')
    .option('--role <role>', 'the rules for threads of this role')
    .option('--arch <arch>', 'x86_64, aarch64 or riscv64 (default: this machine)')
    .option('--feature <name>', 'with this feature of the profile (repeatable)', collect, [])
    .option('--listener <path>', 'for oci and spo: leave brokered calls to the agent that listens on this socket')
    .option('-o, --output <file>', 'where to; - for standard output', '-')
    .option('--json', 'print {format, stage, role, arch, document, notes, changed} instead')
    .addHelpText(
      'after',
      `
Formats:
  oci          linux.seccomp of the OCI runtime specification, which Docker, Podman and Kubernetes take too
  spo          the Kubernetes resource SeccompProfile of the security profiles operator
  firecracker  Firecracker's seccompiler JSON, one thread class
  systemd      a drop-in with SystemCallFilter=; it cannot test arguments
  raw          the BPF program, for bwrap --seccomp and the like

The export permits nothing that the stage does not. A brokered call is refused with EACCES, unless --listener names who
answers. The report on stderr is found by reading the export back and comparing it with the stage, call by call.

Examples:
  ratchet export --to oci qemu --stage running -o running.json
  ratchet export --to systemd qemu --stage running > /etc/systemd/system/vm.service.d/seccomp.conf`,
    )
    .action((name: string, options: CommandOptions) => {
      const format = exportFormats.find((known) => known === options.to);
      if (format === undefined)
        throw new RatchetError('ARGUMENT_INVALID', `there is no exporter for ${options.to}`, {
          next: `choose one of ${exportFormats.join(', ')}`,
        });
      if (options.listener !== undefined && format !== 'oci' && format !== 'spo')
        throw new RatchetError('ARGUMENT_INVALID', `${format} cannot say who listens`, {
          next: 'leave --listener out, or export to oci or spo',
        });
      const arch = chosenArch(options.arch);
      const profile = loadAnyProfile(name, { arch, features: options.feature });
      const stage = chosenStage(profile, options.stage);
      const exported = exportStage(chosenFilter(stage, options.role), {
        format,
        name: format === 'firecracker' ? (options.role ?? 'vmm') : `${profile.name}-${stage.name}`,
        listenerPath: options.listener,
      });
      if (options.json === true) {
        const { document, notes, changed } = exported;
        const text = typeof document === 'string' ? document : Buffer.from(document).toString('base64');
        return printJson({
          format,
          stage: stage.name,
          role: options.role ?? null,
          arch,
          document: text,
          notes,
          changed,
        });
      }
      report(`${profile.name}:${stage.name} as ${format}`, exported);
      return writeOutput(options.output, exported.document);
    });
}

function report(what: string, { notes, changed }: Exported): void {
  for (const note of notes) complain(`${what}: ${note}`);
  if (changed.length === 0) complain(`${what}: read back, it answers every call as the stage does`);
  for (const { stage, exported, calls } of changed)
    complain(`${what}: ${stage} became ${exported}: ${calls.join(' ')}`);
}
