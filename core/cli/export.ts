// SPDX-License-Identifier: Apache-2.0
import type { Command } from 'commander';
import { RatchetError } from '../errors.ts';
import { parseGrant } from '../policy/index.ts';
import { collect } from './collect.ts';
import { type AnyExportFormat, type ExportedDocument, exportDocument, exportFormats } from './export-document.ts';
import { exportGroup } from './export-group.ts';
import { exportUnits } from './export-units.ts';
import { complain, printJson } from './output.ts';
import { parseVariables } from './run-group.ts';
import { chosenArch } from './stage-filter.ts';
import { writeOutput } from './write-output.ts';

interface CommandOptions {
  readonly to: string;
  readonly group?: string;
  readonly set: readonly string[];
  readonly stage?: string;
  readonly role?: string;
  readonly arch?: string;
  readonly feature: readonly string[];
  readonly allow: readonly string[];
  readonly mayGrant: readonly string[];
  readonly program?: string;
  readonly listener?: string;
  readonly exec?: boolean;
  readonly unit?: boolean;
  readonly output: string;
  readonly json?: boolean;
}

export function addExport(program: Command): void {
  program
    .command('export')
    .description("Write one stage in another program's format; what that cannot say goes to stderr.")
    .usage('[options] --to FORMAT PROFILE | --group FILE -o FOLDER')
    .argument('[profile]', 'a shipped profile, or a file')
    .requiredOption('--to <format>', `one of ${exportFormats.join(', ')}`)
    .option('--group <file>', 'every stage of every member of a group file instead, into the folder that -o names')
    .option('--set <name=value>', "give a variable of the group's a value (repeatable)", collect, [])
    .option(
      '--stage <stage>',
      'the stage; may be left out when there is only one, and for apparmor (default: the first)',
    )
    .option('--role <role>', 'the rules for threads of this role')
    .option('--arch <arch>', 'x86_64, aarch64 or riscv64 (default: this machine)')
    .option('--feature <name>', 'with this feature of the profile (repeatable)', collect, [])
    .option('--allow <grant>', 'for apparmor: what `run --allow` will grant (repeatable)', collect, [])
    .option('--may-grant <grant>', 'for apparmor: what `run --may-grant` will let be granted (repeatable)', collect, [])
    .option('--program <path>', 'for apparmor: the program, where the layers do not let it be read')
    .option('--listener <path>', 'for oci and spo: leave brokered calls to the agent that listens on this socket')
    .option('--exec', 'for oci and spo: permit execve, with which the runtime starts the program under the filter')
    .option(
      '--unit',
      'for systemd: a template unit for VMs of the profile and the unit of its sockets, into the folder -o',
    )
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
  apparmor     an AppArmor profile of the same facts: files, sockets, capabilities; it holds from the stage on

The export permits nothing that the stage does not. A brokered call is refused with EACCES, unless --listener names who
answers. The report on stderr is found by reading the export back and comparing it with the stage, call by call.

Examples:
  ratchet export --to oci qemu --stage running -o running.json
  ratchet export --to systemd qemu --stage running > /etc/systemd/system/vm.service.d/seccomp.conf
  ratchet export --to apparmor qemu --allow open=/images/vm1.qcow2 -o /etc/apparmor.d/ratchet-qemu
  ratchet export --to systemd --unit qemu -o /etc/systemd/system
  ratchet export --to oci --exec --group examples/group/whole.yaml -o /var/lib/kubelet/seccomp/vm1`,
    )
    .action((name: string | undefined, options: CommandOptions) => {
      const format = exportFormats.find((known) => known === options.to);
      if (format === undefined)
        throw misuse(`there is no exporter for ${options.to}`, `choose one of ${exportFormats.join(', ')}`);
      if (options.exec === true && format !== 'oci' && format !== 'spo')
        throw misuse(`--exec says nothing to ${format}`, 'leave it out');
      if (options.group === undefined) {
        if (name === undefined) throw misuse('there is nothing to export', 'give a profile, or --group FILE');
        if (options.unit === true) exportUnits(name, format, { ...options });
        else exportOne(name, format, options);
      } else exportMembers(name, options.group, format, options);
    });
}

function exportOne(profile: string, format: AnyExportFormat, options: CommandOptions): void {
  assertSaid(format, options);
  if (options.set.length > 0) throw misuse('--set without a group', 'give --group FILE too');
  const { role, listener, program } = options;
  const arch = chosenArch(options.arch);
  const exported = exportDocument({
    format,
    profile,
    arch,
    features: options.feature,
    stage: options.stage,
    role,
    listener,
    exec: options.exec,
    program,
    allow: options.allow.map((text) => parseGrant(text, '--allow')),
    mayGrant: options.mayGrant.map((text) => parseGrant(text, '--may-grant')),
  });
  if (options.json === true) printJson({ format, stage: exported.stage, role: role ?? null, arch, ...told(exported) });
  else {
    report(format, exported);
    writeOutput(options.output, exported.document);
  }
}

function exportMembers(name: string | undefined, file: string, format: AnyExportFormat, options: CommandOptions): void {
  if (name !== undefined) throw misuse(`--group exports no ${name}`, 'name it in the group file');
  const { role, listener, program } = options;
  for (const [option, value] of Object.entries({
    role,
    listener,
    program,
    feature: options.feature[0],
    allow: options.allow[0],
    'may-grant': options.mayGrant[0],
  }))
    if (value !== undefined)
      throw misuse(`--group does not go together with --${option}`, 'say it of a member, in the group file');
  if (options.output === '-') throw misuse('a group has a file for each member', 'name a folder with --output');
  const arch = chosenArch(options.arch);
  const variables = parseVariables(options.set);
  const written = exportGroup({
    format,
    file,
    variables,
    arch,
    stage: options.stage,
    exec: options.exec ?? false,
    folder: options.output,
  });
  if (options.json === true)
    printJson(
      written.map((each) => ({ member: each.member, file: each.file, format, stage: each.stage, arch, ...told(each) })),
    );
  else for (const each of written) report(format, each);
}

/** Options that a format would not heed. */
function assertSaid(format: AnyExportFormat, options: CommandOptions): void {
  if (options.listener !== undefined && format !== 'oci' && format !== 'spo')
    throw misuse(`${format} cannot say who listens`, 'leave --listener out, or export to oci or spo');
  if (format === 'apparmor') {
    if (options.role !== undefined) throw misuse('apparmor knows no threads', 'leave --role out');
    return;
  }
  for (const [option, value] of Object.entries({
    allow: options.allow[0],
    'may-grant': options.mayGrant[0],
    program: options.program,
  }))
    if (value !== undefined)
      throw misuse(`${format} knows calls, not objects`, `leave --${option} out, or export to apparmor`);
}

function misuse(what: string, next: string): RatchetError {
  return new RatchetError('ARGUMENT_INVALID', what, { next });
}

function told({ document, notes, changed }: ExportedDocument): object {
  const text = typeof document === 'string' ? document : Buffer.from(document).toString('base64');
  return { document: text, notes, changed };
}

function report(format: AnyExportFormat, { of, notes, changed }: ExportedDocument): void {
  const what = `${of} as ${format}`;
  for (const note of notes) complain(`${what}: ${note}`);
  if (format !== 'apparmor' && changed.length === 0)
    complain(`${what}: read back, it answers every call as the stage does`);
  for (const { stage, exported, calls } of changed)
    complain(`${what}: ${stage} became ${exported}: ${calls.join(' ')}`);
}
