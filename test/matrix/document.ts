// SPDX-License-Identifier: Apache-2.0
import { release } from 'node:os';
import { summarizeFilter } from '../../core/policy/index.ts';
import { hostArch, loadProfile } from '../../core/profile-files.ts';
import { type Area, type Row, rowName } from './row.ts';
import type { RowResult } from './runner.ts';

export const documentPath = 'docs/qemu-operations.md';

export interface Versions {
  readonly qemu: string;
  readonly guestKernel: string;
  readonly ratchet: string;
}

/** The document. It has no date: the versions say when it holds. */
export function renderDocument(areas: readonly Area[], results: readonly RowResult[], versions: Versions): string {
  const byName = new Map(results.map((result) => [result.name, result]));
  const count = (outcome: RowResult['outcome']): number =>
    results.filter((result) => result.outcome === outcome).length;
  const sections = areas.map((area) => {
    const rows = area.rows.map((row) => renderRow(area, row, byName.get(rowName(area, row))));
    return [`## ${area.area}`, '', ...head, ...rows, ''].join('\n');
  });
  return [
    '# QEMU operations under stage `running`',
    '',
    'Written by `npm run matrix`; do not edit. Every operation that a VM may need after its vCPUs have started, run on a real QEMU that is in stage',
    '`running` of the shipped profile, and its effect checked: bytes have arrived, the guest sees the device, the image has the data. After each row the',
    'guest still runs, QEMU lives, and nothing was refused but what the row tells of.',
    '',
    `QEMU ${versions.qemu}, Linux ${release().split('.').slice(0, 2).join('.')} (guest: ${versions.guestKernel}), ratchet ${versions.ratchet}, x86_64. ` +
      `${results.length} rows: ${count('works')} work, ${count('limited')} cannot for a reason of QEMU's, ${count('not run here')} could not be run on this machine.`,
    '',
    '- **Way**: `transparent`, QEMU asks the kernel by path or address as under any launcher, and the broker answers; `fd`, the launcher asks the broker and',
    '  passes the descriptor in; `in-process`, nothing from outside is needed.',
    '- **Features** of the profile that the VM was launched with (docs/profiles.md). None: the base.',
    '- **Beyond the base**: calls that were made and that the base does not let through, as strace saw them. In brackets those that the broker answered.',
    '  `not traced`: ratchet traces QEMU itself there.',
    '- **Test**: the name of the row in `test/matrix/matrix.test.ts`, and for `npm run matrix -- --only NAME`.',
    '',
    ...sections,
  ].join('\n');
}

const head = [
  '| Operation | Way | Stage | Features | Beyond the base | Result | Test |',
  '|---|---|---|---|---|---|---|',
] as const;

function renderRow(area: Area, row: Row, result: RowResult | undefined): string {
  const features = (row.features ?? []).map((name) => `\`${name}\``).join(', ');
  const cells = [row.operation, row.way, 'running', features, beyondTheBase(row, result), resultCell(row, result)];
  return `| ${[...cells, `\`${rowName(area, row)}\``].map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
}

function resultCell(row: Row, result: RowResult | undefined): string {
  switch (result?.outcome) {
    case 'works':
      return 'works';
    case 'limited':
      return `no: ${row.limit?.because}. Instead: ${row.limit?.instead}`;
    case 'not run here':
      return `not run here: ${result.detail}`;
    default:
      throw new Error(`${row.operation} has no result for the document`);
  }
}

function beyondTheBase(row: Row, result: RowResult | undefined): string {
  if (row.untraced === true) return 'not traced';
  const base = runningStage([]);
  const chosen = runningStage(row.features ?? []);
  const made = (result?.syscalls ?? []).filter((name) => chosen.letThrough.has(name));
  const brokered = (result?.syscalls ?? []).filter((name) => chosen.brokered.has(name));
  const beyond = made.filter((name) => !base.letThrough.has(name) && !chosen.brokered.has(name));
  return [...beyond.map((name) => `\`${name}\``), ...brokered.map((name) => `(\`${name}\`)`)].join(', ');
}

/** Names of the calls that the stage lets through or leaves to the broker. */
function runningStage(features: readonly string[]): {
  readonly letThrough: ReadonlySet<string>;
  readonly brokered: ReadonlySet<string>;
} {
  const profile = loadProfile('qemu', { arch: hostArch(), features });
  const running = profile.stages.find(({ name }) => name === 'running');
  if (running === undefined) throw new Error('the profile has no stage running');
  const { names } = summarizeFilter(running.filter);
  const brokered = running.filter.syscalls
    .filter(({ rules, otherwise }) =>
      [...rules.map(({ action }) => action), otherwise].some(({ kind }) => kind === 'broker'),
    )
    .map(({ name }) => name);
  return { letThrough: new Set(names), brokered: new Set(brokered) };
}

/** The rows of a document, by their names, with what it says of each. */
export function readDocument(text: string): ReadonlyMap<string, string> {
  const rows = text.split('\n').filter((line) => line.startsWith('| ') && line.endsWith('` |'));
  return new Map(
    rows.map((line) => {
      const cells = line.slice(2, -2).split(' | ');
      return [(cells.at(-1) ?? '').slice(1, -1), cells.at(-2) ?? ''];
    }),
  );
}
