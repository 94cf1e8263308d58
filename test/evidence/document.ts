// SPDX-License-Identifier: Apache-2.0
import type { Evidence } from './removal.ts';

export const documentPath = 'docs/qemu-rules.md';

/**
 * @param known lines of the document as it is, by their first cells: what was not looked at now stays as it was found.
 */
export function renderEvidence(
  keys: { readonly rules: readonly string[]; readonly features: readonly string[] },
  found: readonly Evidence[],
  known: ReadonlyMap<string, string>,
): string {
  const fresh = new Map(found.map((evidence) => [abridged(evidence.key), renderRule(evidence)]));
  const line = (key: string): string =>
    fresh.get(abridged(key)) ?? known.get(abridged(key)) ?? renderRule({ key, why: '', lost: undefined });
  const rules = keys.rules.map(line);
  const elsewhere = rules.filter((text) => text.includes('` | elsewhere | ')).length;
  const open = rules.filter((text) => text.includes('` |  | open: ')).length;
  return [
    '# What each rule of stage `running` is for',
    '',
    'Written by `npm run evidence`; do not edit. Each rule of the base of the shipped profile `qemu` that lets a call through or leaves it to the broker, in',
    'the stage itself (`process`) and in its roles, was taken out, by itself, and the row of the matrix (docs/qemu-operations.md) that had used it in the least',
    `time was run without it. ${rules.length} rules: of ${rules.length - elsewhere - open} the row failed. ${elsewhere} are for what this machine has not, or no test can see; their evidence is`,
    `written instead. Of ${open} it is open what they are for.`,
    '',
    '| Rule | Row that fails without | What is lost |',
    '|---|---|---|',
    ...rules,
    '',
    '# What each feature is for',
    '',
    'A row that wants the feature was run in a machine that was launched without it.',
    '',
    '| Feature | Row that fails without | What is lost |',
    '|---|---|---|',
    ...keys.features.map(line),
    '',
  ].join('\n');
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

/** Its lines, by their first cells. */
export function documentedLines(text: string): ReadonlyMap<string, string> {
  const lines = text.split('\n').filter((line) => line.startsWith('| `'));
  return new Map(lines.map((line) => [firstCell(line), line]));
}

function firstCells(text: string): readonly string[] {
  return text
    .split('\n')
    .filter((line) => line.startsWith('| `'))
    .map(firstCell);
}

function firstCell(line: string): string {
  return line.slice(3, line.indexOf('` |')).replaceAll('\\|', '|');
}
