// SPDX-License-Identifier: Apache-2.0
import type { Evidence } from './removal.ts';

export const documentPath = 'docs/qemu-rules.md';

export function renderEvidence(results: readonly Evidence[], features: readonly Evidence[]): string {
  const shown = results.filter(({ lost }) => lost !== undefined && 'row' in lost).length;
  const elsewhere = results.filter(({ lost }) => lost !== undefined && 'elsewhere' in lost).length;
  return [
    '# What each rule of stage `running` is for',
    '',
    'Written by `npm run evidence`; do not edit. Each rule of the base of the shipped profile `qemu` that lets a call through or leaves it to the broker, in',
    'the stage itself (`process`) and in its roles, was taken out, by itself, and the row of the matrix (docs/qemu-operations.md) that had used it in the least',
    `time was run without it. ${results.length} rules: of ${shown} the row failed. ${elsewhere} are for what this machine has not, or no test can see; their evidence is`,
    `written instead. Of ${results.length - shown - elsewhere} it is open what they are for.`,
    '',
    '| Rule | Row that fails without | What is lost |',
    '|---|---|---|',
    ...results.map(renderRule),
    '',
    ...(features.length === 0 ? [] : renderFeatures(features)),
  ].join('\n');
}

function renderFeatures(features: readonly Evidence[]): readonly string[] {
  return [
    '# What each feature is for',
    '',
    'A row that wants the feature was run in a machine that was launched without it.',
    '',
    '| Feature | Row that fails without | What is lost |',
    '|---|---|---|',
    ...features.map(renderRule),
    '',
  ];
}

function renderRule({ key, lost }: Evidence): string {
  const cells =
    lost === undefined
      ? ['', 'open: no row that was run here fails without it']
      : 'row' in lost
        ? [`\`${lost.row}\``, lost.how]
        : ['elsewhere', `${lost.elsewhere} (${lost.source})`];
  return `| ${[`\`${abridged(key)}\``, ...cells].map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
}

/** Lists of requests are long; the beginning tells which one it is. */
export function abridged(key: string): string {
  return key.length <= 120 ? key : `${key.slice(0, 117)}...`;
}

/** The rules that a document has. */
export function documentedRules(text: string): readonly string[] {
  return firstCells(text.split('# What each feature is for')[0] ?? '');
}

function firstCells(text: string): readonly string[] {
  return text
    .split('\n')
    .filter((line) => line.startsWith('| `'))
    .map((line) => line.slice(3, line.indexOf('` |')).replaceAll('\\|', '|'));
}
