#!/usr/bin/env node
// SPDX-License-Identifier: Apache-2.0
import { Command, CommanderError } from 'commander';
import { errorTable, RatchetError } from '../errors.ts';
import { addCheck } from './check.ts';
import { addCompile } from './compile.ts';
import { addCtl } from './ctl.ts';
import { addDemo } from './demo.ts';
import { addDiff } from './diff.ts';
import { addExplain } from './explain.ts';
import { addImport } from './import.ts';
import { complain } from './output.ts';
import { addRun } from './run.ts';

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

for (const add of [addRun, addCtl, addCheck, addExplain, addDiff, addCompile, addImport, addDemo]) add(program);

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
