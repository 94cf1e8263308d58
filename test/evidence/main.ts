// SPDX-License-Identifier: Apache-2.0
// `npm run evidence [-- OPTIONS]`: shows for each rule of stage `running` what is lost without it, and writes docs/qemu-rules.md.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { Command } from 'commander';
import { print } from '../../core/cli/output.ts';
import { inOwnNetwork } from '../../core/demo/own-network.ts';
import { packagePath } from '../../native/package-path.ts';
import type { Row } from '../matrix/row.ts';
import { documentedLines, documentPath, renderEvidence } from './document.ts';
import { type FeatureEvidence, featureNames, removeFeature } from './features.ts';
import {
  allRules,
  candidates,
  type Evidence,
  featureRuleKey,
  recordUses,
  removeRule,
  rulesOfFeature,
} from './removal.ts';
import { ownAreas } from './rows/index.ts';

interface Options {
  readonly only: string;
  readonly rows: string;
  readonly all: boolean;
  readonly recorded: boolean;
}

/** Which rules each row used and how long it took, when the rows were last run. */
const usesPath = packagePath('.cache/evidence-uses.json');
type RecordedUses = Record<string, { readonly ms: number; readonly rules: readonly string[] }>;

/** Of the matrix; those of the evidence's own all come first. */
const triesPerRule = 2;

const ofFeatures = featureNames.flatMap((feature) => rulesOfFeature(feature).map((key) => ({ key, feature })));

const command = new Command('evidence')
  .description('takes each rule out of stage `running` in turn and shows which operation fails')
  .option(
    '--only <REGEX>',
    'rules, features as "feature NAME" and their rules as "NAME: RULE", that match; the rest of the document stays',
    '',
  )
  .option('--rows <REGEX>', 'rows whose name matches', '')
  .option('--all', 'also rows that the tests leave out', false)
  .option('--recorded', 'do not run the rows first: they used what they did the last time', false)
  .action(async (options: Options) => {
    process.exitCode = (await inOwnNetwork()) ?? (await showAll(options));
  });
await command.parseAsync();

/** The exit status: 1 when nothing shows what a rule is for. */
async function showAll({ only, rows, all, recorded }: Options): Promise<number> {
  const wanted = new RegExp(only);
  const rules: Evidence[] = [];
  const chosen = [...allRules().map((key) => ({ key, feature: undefined })), ...ofFeatures].filter(({ key, feature }) =>
    wanted.test(feature === undefined ? key : featureRuleKey(feature, key)),
  );
  const uses =
    chosen.length === 0 || recorded
      ? readUses()
      : await recordRows((name, row) => {
          const mayShow = chosen.some(
            ({ feature }) => feature === undefined || row.features?.includes(feature) === true,
          );
          return mayShow && new RegExp(rows).test(name) && (all || row.longOnly !== true || isOwn(name));
        });
  for (const { key, feature } of chosen) {
    const users = Object.entries(uses)
      .filter(([name, row]) => new RegExp(rows).test(name) && row.rules.includes(key))
      .filter(([name]) => feature === undefined || candidates.get(name)?.features?.includes(feature) === true)
      .sort(([, a], [, b]) => a.ms - b.ms)
      .map(([name]) => name);
    const own = users.filter(isOwn);
    const tried = [...own, ...users.filter((name) => !isOwn(name)).slice(0, triesPerRule)];
    const evidence = await removeRule(key, tried, feature);
    rules.push(evidence);
    print(`${evidence.key}: ${JSON.stringify(evidence.lost ?? 'NOTHING IS LOST')} (used by ${users.length} rows)`);
  }
  const features: FeatureEvidence[] = [];
  for (const name of featureNames) {
    if (!wanted.test(`feature ${name}`)) continue;
    const evidence = await removeFeature(name);
    features.push(evidence);
    print(`feature ${name}: ${JSON.stringify(evidence.lost ?? 'NOTHING IS LOST')}, named by ${evidence.named}`);
  }
  const unneeded = [...rules, ...features].filter(({ lost }) => lost === undefined);
  print(`${rules.length} rules and ${features.length} features, ${unneeded.length} without evidence`);
  const known = documentedLines(readFileSync(packagePath(documentPath), 'utf8'));
  const keys = {
    rules: allRules(),
    features: featureNames,
    ofFeatures: ofFeatures.map(({ feature, key }) => featureRuleKey(feature, key)),
  };
  writeFileSync(packagePath(documentPath), renderEvidence(keys, { rules, features }, known));
  return unneeded.length === 0 ? 0 : 1;
}

/** What was known of other rows stays. */
async function recordRows(wanted: (name: string, row: Row) => boolean): Promise<RecordedUses> {
  const took = new Map<string, number>();
  const uses = await recordUses(wanted, ({ name, outcome, ms, detail }) => {
    if (outcome === 'works') took.set(name, ms);
    print(`${outcome} ${name} (${ms} ms)${outcome === 'failed' ? detail : ''}`);
  });
  const found = Object.fromEntries(
    [...took].map(([name, ms]) => [name, { ms, rules: [...(uses.get(name) ?? [])] }] as const),
  );
  const all = { ...readUses(), ...found };
  writeFileSync(usesPath, JSON.stringify(all));
  return all;
}

function readUses(): RecordedUses {
  return existsSync(usesPath) ? (JSON.parse(readFileSync(usesPath, 'utf8')) as RecordedUses) : {};
}

/** A row of the evidence's own. */
function isOwn(name: string): boolean {
  return ownAreas.some(({ area }) => name.startsWith(`${area}: `));
}
