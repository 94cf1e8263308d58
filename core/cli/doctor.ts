// SPDX-License-Identifier: Apache-2.0
import type { Command } from 'commander';
import { examine, type Finding } from '../doctor/examine.ts';
import { print, printJson, style, table } from './output.ts';

export function addDoctor(program: Command): void {
  program
    .command('doctor')
    .description('Try out what this kernel and this user can enforce; each miss with what it costs and its cure.')
    .option('--json', 'one JSON object: {ok, findings: [{name, title, need, works, errno, detail, lost, cure}]}')
    .addHelpText(
      'after',
      `
Nothing is judged by version numbers: each thing is done once, in a process of its own.
Needs: must = no VMM runs without it; full = a VMM runs, and its report says what is absent; feature = only some profiles use it.
Exit status: 0 when the shipped profile can be enforced fully here, 1 when not.

Example:
  ratchet doctor --json | jq '.findings[] | select(.works | not)'`,
    )
    .action((options: { readonly json?: boolean }) => {
      const examination = examine();
      if (options.json === true) printJson(examination);
      else printFindings(examination.findings, examination.ok);
      if (!examination.ok) process.exitCode = 1;
    });
}

function printFindings(findings: readonly Finding[], ok: boolean): void {
  const rows = findings.map(({ works, need, title, errno, detail }) => [
    works ? 'yes' : 'NO',
    need,
    title,
    [errno, detail].filter((part) => part !== '').join(' '),
  ]);
  print(table([['works', 'need', 'what', 'found'], ...rows]));
  for (const { title, lost, cure, works } of findings) {
    if (works) continue;
    print(`\n${style('bold', title)}\n  lost: ${lost}\n  cure: ${cure}`);
  }
  print(
    ok ? '\nThe shipped profile can be enforced fully here.' : '\nThe shipped profile can NOT be enforced fully here.',
  );
}
