// SPDX-License-Identifier: Apache-2.0
// `npm run matrix [-- OPTIONS]`: runs the matrix and writes docs/qemu-operations.md.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import { print, style } from '../../core/cli/output.ts';
import { findGuestKernel } from '../../core/demo/guest-kernel.ts';
import { inOwnNetwork } from '../../core/demo/own-network.ts';
import { packagePath } from '../../native/package-path.ts';
import { areas } from './areas.ts';
import { documentPath, renderDocument, type Versions } from './document.ts';
import { type RowResult, runRows } from './runner.ts';
import { SyscallRecorder } from './syscalls.ts';

interface Options {
  readonly only: string;
  readonly short: boolean;
  readonly json: boolean;
  readonly trace: boolean;
}

const command = new Command('matrix')
  .description('runs every operation of the matrix under stage `running` and writes docs/qemu-operations.md')
  .option('--only <TEXT>', 'rows whose name contains this; the document is not written', '')
  .option('--short', 'what the tests run; the document is not written', false)
  .option('--no-trace', 'do not record system calls; the document is not written')
  .option('--json', 'one JSON object a row on stdout', false)
  .action(async (options: Options) => {
    process.exitCode = (await inOwnNetwork()) ?? (await runMatrix(options));
  });
await command.parseAsync();

/** The exit status: 1 when a row failed. */
async function runMatrix({ only, short, json, trace }: Options): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), 'rm-'));
  const results: RowResult[] = [];
  try {
    await using recorder = trace && !short ? new SyscallRecorder(folder) : undefined;
    await runRows(areas, {
      folder,
      wanted: (name, row) => name.includes(only) && !(short && row.longOnly === true),
      ...(recorder === undefined ? {} : { recorder }),
      onResult: (result) => {
        results.push(result);
        if (json) print(JSON.stringify(result));
        else print(describe(result));
      },
    });
  } finally {
    rmSync(folder, { recursive: true });
  }
  const failed = results.filter(({ outcome }) => outcome === 'failed').length;
  if (!json) print(`${results.length} rows, ${failed} failed`);
  if (failed === 0 && trace && !short && only === '')
    writeFileSync(packagePath(documentPath), renderDocument(areas, results, versions()));
  return failed === 0 ? 0 : 1;
}

function versions(): Versions {
  const { version } = JSON.parse(readFileSync(packagePath('package.json'), 'utf8')) as { readonly version: string };
  const qemu = execFileSync('qemu-system-x86_64', ['--version'], { encoding: 'utf8' });
  return {
    qemu: /version (\S+)/.exec(qemu)?.[1] ?? '?',
    guestKernel: findGuestKernel(packagePath('.cache')).version,
    ratchet: version,
  };
}

function describe({ name, outcome, detail, ms }: RowResult): string {
  const mark = { works: 'ok  ', limited: 'no  ', 'not run here': 'skip', failed: 'FAIL' }[outcome];
  return `${outcome === 'failed' ? style('red', mark) : mark} ${name} (${ms} ms)${detail === '' ? '' : `: ${detail}`}`;
}
