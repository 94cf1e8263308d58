// SPDX-License-Identifier: Apache-2.0
import { readFileSync, writeFileSync } from 'node:fs';
import type { Attempt } from './attempts.ts';
import { isRefused } from './prisoner.ts';

type Results = ReadonlyMap<string, string>;

export interface Seen {
  /** Without the filter and without layers: what the kernel refuses a process that has no capabilities. */
  readonly none: Results;
  /** Without the filter, with one layer. */
  readonly alone: ReadonlyMap<string, Results>;
  /** The filter without layers. */
  readonly filter: Results;
}

const begin = '<!-- begin: written by test/layers, UPDATE_LAYERS=1 -->';
const end = '<!-- end -->';

/** Writes who refuses what into docs/layers.md. */
export async function layersTable(attempts: readonly Attempt[], { none, alone, filter }: Seen): Promise<void> {
  const layers = [...alone.keys()];
  const rows = attempts.map(({ name, what, filterOnly, deadly }) => {
    const cells = layers.map((layer) => cell(filterOnly, alone.get(layer)?.get(name), none.get(name)));
    return `| ${what} | \`${name}\` | ${deadly ? 'killed' : (filter.get(name) ?? '')} | ${cells.join(' | ')} | ${filterOnly ? '' : refusal(none.get(name))} |`;
  });
  const head = ['attempt', 'name', 'filter', ...layers, 'none of them'];
  const table = [`| ${head.join(' | ')} |`, `|${head.map(() => '---').join('|')}|`, ...rows].join('\n');
  const file = 'docs/layers.md';
  const text = readFileSync(file, 'utf8');
  const [before = ''] = text.split(begin);
  const after = text.split(end)[1] ?? '\n';
  writeFileSync(file, `${before}${begin}\n\n${table}\n\n${end}${after}`);
}

/** Empty where the layer alone lets it through, or where there was nothing left for it to refuse. */
function cell(filterOnly: true | undefined, withLayer: string | undefined, without: string | undefined): string {
  return filterOnly || isRefused(without) ? '' : refusal(withLayer);
}

function refusal(result: string | undefined): string {
  return isRefused(result) ? (result ?? '') : '';
}
