// SPDX-License-Identifier: Apache-2.0
// `npm run workload [-- OPTIONS]`: guests work on every backend at once, under stage `running`.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import { print, style } from '../../core/cli/output.ts';
import { inOwnNetwork } from '../../core/demo/own-network.ts';
import { packagePath } from '../../native/package-path.ts';
import { onDebian } from '../matrix/other-debian.ts';
import { documentPath, renderWork } from './document.ts';
import { type LoadResult, runLoads } from './run.ts';
import { kvmLoad, runUnderKvm } from './under-kvm.ts';

interface Options {
  readonly minutes: string;
  readonly only: string;
  readonly json: boolean;
  readonly write: boolean;
  readonly debian?: string;
}

const command = new Command('workload')
  .description(
    'lets guests do disk and network I/O through every backend at once, in stage `running`, and compares each byte',
  )
  .option('--minutes <NUMBER>', 'how long; 0 is one turn each', '3')
  .option('--only <TEXT>', 'loads whose name matches this expression', '')
  .option('--json', 'one JSON object on stdout', false)
  .option('--write', `writes ${documentPath}`, false)
  .option('--debian <SUITE>', 'on QEMU and the C library of another Debian (trixie, sid)')
  .action(async (options: Options) => {
    const { debian } = options;
    const elsewhere = debian === undefined ? undefined : await onDebian(debian, packagePath('.cache'));
    process.exitCode = elsewhere ?? (await inOwnNetwork()) ?? (await work(options));
  });
await command.parseAsync();

/** The exit status: 1 when a byte was lost, a guest stood still or anything was refused. */
async function work({ minutes, only, json, write }: Options): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), 'rw-'));
  try {
    const wanted = ({ name }: { readonly name: string }): boolean => new RegExp(only).test(name);
    const seconds = Number(minutes) * 60;
    const reports = await Promise.all([
      runLoads(folder, { seconds, wanted, say: json ? () => undefined : print }),
      ...(wanted(kvmLoad) ? [runUnderKvm(folder, seconds)] : []),
    ]);
    const results = reports.flatMap((report) => report.results);
    const refusals = reports.flatMap((report) => report.refusals);
    if (json) print(JSON.stringify({ results, refusals }));
    else for (const line of [...results.map(describe), ...refusals.map((text) => `refused: ${text}`)]) print(line);
    const ok = refusals.length === 0 && results.every(({ outcome }) => outcome !== 'failed');
    if (!json) print(`${results.length} loads for ${minutes} minutes, ${refusals.length} refusals`);
    if (write && ok) writeFileSync(packagePath(documentPath), renderWork(results, Number(minutes)));
    return ok ? 0 : 1;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function describe({ name, features, outcome, detail, turns, mebibytes }: LoadResult): string {
  const mark = { works: 'ok  ', 'not run here': 'skip', failed: style('red', 'FAIL') }[outcome];
  return `${mark} ${name} (${features.join(', ') || 'base'}): ${outcome === 'works' ? `${mebibytes} MiB in ${turns} turns` : detail}`;
}
