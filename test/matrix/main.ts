// SPDX-License-Identifier: Apache-2.0
// `npm run matrix [-- OPTIONS]`: runs the matrix and writes docs/qemu-operations.md.
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import { print, style } from '../../core/cli/output.ts';
import { findGuestKernel } from '../../core/demo/guest-kernel.ts';
import { inOwnNetwork } from '../../core/demo/own-network.ts';
import { packagePath } from '../../native/package-path.ts';
import { areas } from './areas.ts';
import { documentPath, renderDocument, type Versions } from './document.ts';
import { onDebian } from './other-debian.ts';
import { qemuVersion } from './qemu-version.ts';
import { rowName } from './row.ts';
import { type RowResult, runRows } from './runner.ts';
import { SyscallRecorder } from './syscalls.ts';

interface Options {
  readonly only: string;
  readonly short: boolean;
  readonly long: boolean;
  readonly json: boolean;
  readonly trace: boolean;
  readonly resume: boolean;
  readonly debian?: string;
}

/** What the last runs found, so that one that was interrupted, or had a row fail, need not begin again. */
const resultsPath = packagePath('.cache/matrix-results.json');

const command = new Command('matrix')
  .description('runs every operation of the matrix under stage `running` and writes docs/qemu-operations.md')
  .option('--only <TEXT>', 'rows whose name contains this; the document is not written', '')
  .option('--short', 'what the tests run; the document is not written', false)
  .option('--long', 'guests that work do so for two minutes each', false)
  .option('--no-trace', 'do not record system calls; the document is not written')
  .option('--resume', 'only rows that the last runs did not see work', false)
  .option('--json', 'one JSON object a row on stdout', false)
  .option('--debian <SUITE>', 'on QEMU and the C library of another Debian (trixie, sid); the document is not written')
  .action(async (options: Options) => {
    const { debian } = options;
    const elsewhere = debian === undefined ? undefined : await onDebian(debian, packagePath('.cache'));
    process.exitCode = elsewhere ?? (await inOwnNetwork()) ?? (await runMatrix(options));
  });
await command.parseAsync();

/** The exit status: 1 when a row failed. */
async function runMatrix({ only, short, long, json, trace, resume }: Options): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), 'rm-'));
  const results: RowResult[] = [];
  const measured = trace && !short;
  const known = new Map((resume || only !== '') && existsSync(resultsPath) ? readResults() : []);
  try {
    await using recorder = measured ? new SyscallRecorder(folder) : undefined;
    await runRows(areas, {
      folder,
      quick: short,
      workSeconds: long ? 120 : 1,
      wanted: (name, row) => name.includes(only) && !(short && row.longOnly === true) && !(resume && known.has(name)),
      ...(recorder === undefined ? {} : { recorder }),
      onResult: (result) => {
        results.push(result);
        if (measured && result.outcome !== 'failed')
          writeFileSync(resultsPath, JSON.stringify([...known.set(result.name, result).values()]));
        if (json) print(JSON.stringify(result));
        else print(describe(result));
      },
    });
  } finally {
    rmSync(folder, { recursive: true });
  }
  const failed = results.filter(({ outcome }) => outcome === 'failed').length;
  if (!json) print(`${results.length} rows, ${failed} failed`);
  const complete = areas.every((area) => area.rows.every((row) => known.has(rowName(area, row))));
  if (measured && complete) {
    const found = [...known.values()];
    writeFileSync(packagePath(documentPath), renderDocument(areas, found, versions()));
  }
  return failed === 0 ? 0 : 1;
}

function readResults(): readonly (readonly [string, RowResult])[] {
  const all = areas.flatMap((area) => area.rows.map((row) => rowName(area, row)));
  const results = JSON.parse(readFileSync(resultsPath, 'utf8')) as readonly RowResult[];
  return results.filter(({ name }) => all.includes(name)).map((result) => [result.name, result]);
}

function versions(): Versions {
  const { version } = JSON.parse(readFileSync(packagePath('package.json'), 'utf8')) as { readonly version: string };
  return {
    qemu: qemuVersion(),
    guestKernel: findGuestKernel(packagePath('.cache')).version,
    ratchet: version,
  };
}

function describe({ name, outcome, detail, ms }: RowResult): string {
  const mark = { works: 'ok  ', limited: 'no  ', 'not run here': 'skip', failed: 'FAIL' }[outcome];
  return `${outcome === 'failed' ? style('red', mark) : mark} ${name} (${ms} ms)${detail === '' ? '' : `: ${detail}`}`;
}
