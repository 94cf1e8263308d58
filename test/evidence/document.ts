// SPDX-License-Identifier: Apache-2.0
import type { FeatureEvidence } from './features.ts';
import type { Evidence } from './removal.ts';

export const documentPath = 'docs/qemu-rules.md';

/**
 * @param known lines of the document as it is, by their first cells: what was not looked at now stays as it was found.
 */
export function renderEvidence(
  keys: {
    readonly rules: readonly string[];
    readonly features: readonly string[];
    readonly ofFeatures: readonly string[];
  },
  found: { readonly rules: readonly Evidence[]; readonly features: readonly FeatureEvidence[] },
  known: ReadonlyMap<string, string>,
): string {
  const fresh = new Map([
    ...found.rules.map((evidence) => [abridged(evidence.key), renderLine(evidence)] as const),
    ...found.features.map((evidence) => [evidence.key, renderLine(evidence, evidence.named)] as const),
  ]);
  const line = (key: string, ...more: readonly string[]): string =>
    fresh.get(abridged(key)) ?? known.get(abridged(key)) ?? renderLine({ key, lost: undefined }, ...more);
  const rules = keys.rules.map((key) => line(key));
  const elsewhere = rules.filter((text) => text.includes('` | elsewhere | ')).length;
  const open = rules.filter((text) => text.includes('` |  | open: ')).length;
  return [
    '# What each rule of stage `running` is for',
    '',
    'Written by `npm run evidence`; do not edit. Each rule of the base of the shipped profile `qemu` that lets a call through or leaves it to the broker, in',
    'the stage itself (`process`) and in its roles, was taken out, by itself, and a row that had used it was run without it: of the matrix',
    "(docs/qemu-operations.md), or in the areas `vcpu`, `io` and `features` one of the evidence's own (test/evidence/rows), which do what no operation there does.",
    `${rules.length} rules: of ${rules.length - elsewhere - open} the row failed. ${elsewhere} are for what this machine has not, or no test can see; their evidence is`,
    `written instead. Of ${open} it is open what they are for.`,
    '',
    '| Rule | Row that fails without | What is lost |',
    '|---|---|---|',
    ...rules,
    '',
    '# What each feature is for',
    '',
    'A row that wants the feature was run in a machine that was launched without it. Where nothing else is said, QEMU lived on and its guest too. *Named by*: the',
    'event of a refusal has the feature in its list, and the error of the command or of the launch ends with it, as `ratchet ctl` and `ratchet run` print it.',
    '',
    '| Feature | Row that fails without | What is lost | Named by |',
    '|---|---|---|---|',
    ...keys.features.map((key) => line(key, '')),
    '',
    '# What each rule of a feature is for',
    '',
    'The same for the rules that a feature adds, in rows that want it. What it adds to the stage holds in the roles too, and is looked at once.',
    '',
    '| Rule | Row that fails without | What is lost |',
    '|---|---|---|',
    ...keys.ofFeatures.map((key) => line(key)),
    '',
  ].join('\n');
}

function renderLine({ key, lost }: Evidence, ...more: readonly string[]): string {
  const cells =
    lost === undefined
      ? ['', 'open: no row that was run here fails without it']
      : 'row' in lost
        ? [`\`${lost.row}\``, lost.how]
        : ['elsewhere', `${lost.elsewhere} (${lost.source})`];
  return `| ${[`\`${abridged(key)}\``, ...cells, ...more].map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
}

/** Lists of requests are long; the beginning tells which one it is. */
export function abridged(key: string): string {
  return key.length <= 120 ? key : `${key.slice(0, 117)}...`;
}

/** The rules of the base that a document has, the features, and their rules. */
export function documentedKeys(text: string): readonly (readonly string[])[] {
  return text.split(/^# What each (?:feature|rule of a feature) is for$/m).map(firstCells);
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
