// SPDX-License-Identifier: Apache-2.0
// `npm run bench [-- SUITE... [--part N]]`: prints a table a suite and writes bench.json at the root, one key a suite. `--part N` takes the Nth part of a long one.

import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { loadavg } from 'node:os';
import { parseArgs } from 'node:util';
import { print, style, table } from '../../core/cli/output.ts';
import { packagePath } from '../../native/package-path.ts';
import { benchBroker } from './broker/figures.ts';
import type { Figure } from './figure.ts';
import { benchFilters } from './filters.ts';
import { benchTightenSoak } from './soak-tighten.ts';
import { benchTighten } from './tighten.ts';

type Suite = (part: number) => Promise<readonly Figure[]>;

const suites: Readonly<Record<string, Suite>> = {
  filters: benchFilters,
  broker: benchBroker,
  tighten: benchTighten,
  'tighten-soak': benchTightenSoak,
};
/** Run when they are named. */
const long: readonly string[] = ['tighten-soak'];

const { values, positionals: wanted } = parseArgs({ allowPositionals: true, options: { part: { type: 'string' } } });
const part = Number(values.part ?? 1);
const unknown = wanted.filter((name) => suites[name] === undefined);
if (unknown.length > 0) {
  process.stderr.write(`bench: there is no suite ${unknown.join(', ')}; there are ${Object.keys(suites).join(', ')}\n`);
  process.exitCode = 2;
} else if (!Number.isInteger(part) || part < 1) {
  process.stderr.write('bench: --part takes a whole number from 1 on\n');
  process.exitCode = 2;
} else {
  for (const [name, suite] of Object.entries(suites)) {
    if (wanted.length > 0 ? !wanted.includes(name) : long.includes(name)) continue;
    print(style('bold', `\n${name} (load ${loadavg()[0]?.toFixed(1)} before)`));
    const figures = await suite(part);
    print(table([['figure', 'median', 'p99', 'unit', 'ratio', 'against', 'n', 'goal', 'met'], ...figures.map(row)]));
    save(name, figures);
  }
}

function row(figure: Figure): readonly (string | number)[] {
  const { name, median, p99, unit, ratio, against, n, goal, met } = figure;
  return [
    name,
    short(median),
    p99 === null ? '' : short(p99),
    unit,
    ratio === null ? '' : ratio.toFixed(3),
    against ?? '',
    n,
    goal ?? '',
    met === null ? '' : met ? style('green', 'yes') : style('red', 'NO'),
  ];
}

function short(value: number): string {
  return Math.abs(value) >= 100 ? value.toFixed(0) : value.toPrecision(3);
}

/** Suites that were not run keep what they had. */
function save(name: string, figures: readonly Figure[]): void {
  const file = packagePath('bench.json');
  const before = existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>) : {};
  writeFileSync(file, `${JSON.stringify({ ...before, [name]: figures }, undefined, 2)}\n`);
}
