// SPDX-License-Identifier: Apache-2.0
// The tables of docs/layers.md, and what they say of what is let through.
import { readFileSync, writeFileSync } from 'node:fs';
import { packagePath } from '../../native/package-path.ts';
import type { Attempt } from './attempts.ts';
import { isRefused } from './prisoner.ts';

export type Results = ReadonlyMap<string, string>;

export interface Seen {
  /** Without the filter and without layers: what the kernel refuses a process that has no capabilities. */
  readonly none: Results;
  /** Without the filter, with one layer. */
  readonly alone: ReadonlyMap<string, Results>;
  /** The filter without layers. */
  readonly filter: Results;
}

const file = packagePath('docs/layers.md');
const end = '<!-- end -->';
const begin = (name: string): string => `<!-- begin ${name}: written by npm run escape -->`;

/** Who refuses what, as swtpm. */
export function writeAlone(attempts: readonly Attempt[], { none, alone, filter }: Seen): void {
  const layers = [...alone.keys()];
  const rows = attempts.map(({ name, what, filterOnly, deadly }) => {
    const cells = layers.map((layer) => cell(filterOnly, alone.get(layer)?.get(name), none.get(name)));
    return [
      what,
      `\`${name}\``,
      deadly ? 'killed' : (filter.get(name) ?? ''),
      ...cells,
      filterOnly ? '' : refusal(none.get(name)),
    ];
  });
  write('alone', table(['attempt', 'name', 'filter', ...layers, 'none of them'], rows));
}

/** What gets through, by what was switched off, then by member. Of a layer that is off with the filter: what the filter's absence alone does not let through. */
export function writeWithout(
  members: readonly string[],
  seen: ReadonlyMap<string, ReadonlyMap<string, readonly string[]>>,
): void {
  const unfiltered = seen.get('the filter');
  const rows = [...seen].map(([off, byMember]) => [
    off,
    ...members.map((member) => {
      const names = byMember.get(member);
      if (!off.startsWith('the filter and')) return through(names, 'nothing');
      const known = unfiltered?.get(member) ?? [];
      return through(
        names?.filter((name) => !known.includes(name)),
        'no more',
      );
    }),
  ]);
  write('without', table(['switched off', ...members], rows));
}

/** The cell of the table that `writeWithout()` has written. */
export function documented(off: string, member: string): readonly string[] {
  const lines = section('without')
    .split('\n')
    .filter((line) => line.startsWith('|'))
    .map((line) =>
      line
        .split('|')
        .slice(1, -1)
        .map((each) => each.trim()),
    );
  const column = lines[0]?.indexOf(member) ?? -1;
  const text = lines.find(([name]) => name === off)?.[column] ?? '';
  return [...text.matchAll(/`([^`]+)`/g)].map(([, name = '']) => name);
}

/** Names of attempts that were not refused. */
export function letThrough(results: Results): readonly string[] {
  return [...results].filter(([, result]) => !isRefused(result)).map(([name]) => name);
}

function through(names: readonly string[] | undefined, none: string): string {
  if (names === undefined) return 'has none';
  return names.length === 0 ? none : names.map((name) => `\`${name}\``).join(', ');
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  return [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}

function section(name: string): string {
  return readFileSync(file, 'utf8').split(begin(name))[1]?.split(end)[0] ?? '';
}

function write(name: string, text: string): void {
  const before = readFileSync(file, 'utf8');
  const [head = '', rest = ''] = before.split(begin(name));
  writeFileSync(file, `${head}${begin(name)}\n\n${text}\n\n${rest.slice(rest.indexOf(end))}`);
}

/** Empty where the layer alone lets it through, or where there was nothing left for it to refuse. */
function cell(filterOnly: true | undefined, withLayer: string | undefined, without: string | undefined): string {
  return filterOnly || isRefused(without) ? '' : refusal(withLayer);
}

function refusal(result: string | undefined): string {
  return isRefused(result) ? (result ?? '') : '';
}
