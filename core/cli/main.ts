#!/usr/bin/env node
// SPDX-License-Identifier: Apache-2.0
import { Command, CommanderError } from 'commander';
import { errorTable, RatchetError } from '../errors.ts';
import { keepInspectorShut } from '../keep-inspector-shut.ts';
import { complain } from './output.ts';

// Before there is a VMM.
keepInspectorShut();

const program = new Command('ratchet')
  .description('Runs an unmodified VMM with a privilege level that only goes down.')
  .enablePositionalOptions()
  .exitOverride()
  .configureHelp({ sortSubcommands: false })
  .addHelpText(
    'after',
    `
Exit status: 0 success, 1 a negative verdict, 2 misuse; \`run\` gives the VMM's own status, or 125 when ratchet itself failed.

Examples:
  ratchet demo
  ratchet run --control /run/vm1.ctl --allow connect=tcp:192.0.2.7:4444 -- qemu-system-x86_64 -m 512 -kernel vmlinuz
  ratchet ctl /run/vm1.ctl status
  ratchet explain qemu --stage running connect
  ratchet check profiles/qemu.yaml`,
  );

/** In the order of the help. Only the command that is asked for is loaded: `check` needs no launcher, and loading takes longer than checking. */
const commands: Readonly<Record<string, () => Promise<(program: Command) => void>>> = {
  run: async () => (await import('./run.ts')).addRun,
  ctl: async () => (await import('./ctl.ts')).addCtl,
  check: async () => (await import('./check.ts')).addCheck,
  explain: async () => (await import('./explain.ts')).addExplain,
  diff: async () => (await import('./diff.ts')).addDiff,
  compile: async () => (await import('./compile.ts')).addCompile,
  import: async () => (await import('./import.ts')).addImport,
  export: async () => (await import('./export.ts')).addExport,
  learn: async () => (await import('./learn.ts')).addLearn,
  doctor: async () => (await import('./doctor.ts')).addDoctor,
  demo: async () => (await import('./demo.ts')).addDemo,
};

// A reader that has seen enough, such as `head`, is no failure; and a launcher must not end with whoever read its log.
for (const stream of [process.stdout, process.stderr])
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
  });

const asked = process.argv[2] ?? '';
const needed = Object.hasOwn(commands, asked) ? [asked] : Object.keys(commands);
for (const name of needed) (await commands[name]?.())?.(program);

// Subcommands take over the parent's exit behaviour only when told to.
for (const command of program.commands) command.exitOverride();

try {
  await program.parseAsync();
} catch (error) {
  process.exitCode = report(error);
}

/** Prints an error once and gives the exit status for it. */
function report(error: unknown): number {
  // Commander has already printed what is wrong; help and version are no error.
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
  if (error instanceof RatchetError) {
    complain(error.message);
    return errorTable[error.code] === 'misuse' ? 2 : 1;
  }
  complain(`this is a bug in ratchet: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
  return 1;
}
