// SPDX-License-Identifier: Apache-2.0
// `npm run evidence [-- OPTIONS]`: shows for each rule of stage `running` what is lost without it, and writes docs/qemu-rules.md.
import { readFileSync, writeFileSync } from 'node:fs';
import { Command } from 'commander';
import { print } from '../../core/cli/output.ts';
import { inOwnNetwork } from '../../core/demo/own-network.ts';
import { loadFeatures } from '../../core/profile-files.ts';
import { packagePath } from '../../native/package-path.ts';
import { documentedLines, documentPath, renderEvidence } from './document.ts';
import { allRules, type Evidence, recordUses, removeFeature, removeRule } from './removal.ts';

interface Options {
  readonly only: string;
  readonly rows: string;
  readonly all: boolean;
}

const triesPerRule = 2;
/** Slow, but the only row on the base where threads have the role io. */
const ioThreads = 'on an iothread of the command line';

const featureNames = loadFeatures('qemu')
  .map(({ name }) => name)
  .sort();

const command = new Command('evidence')
  .description('takes each rule out of stage `running` in turn and shows which operation fails')
  .option('--only <REGEX>', 'rules, and features as "feature NAME", that match; the rest of the document stays', '')
  .option('--rows <TEXT>', 'rows whose name contains this', '')
  .option('--all', 'also rows that the tests leave out', false)
  .action(async (options: Options) => {
    process.exitCode = (await inOwnNetwork()) ?? (await showAll(options));
  });
await command.parseAsync();

/** The exit status: 1 when nothing shows what a rule is for. */
async function showAll({ only, rows, all }: Options): Promise<number> {
  const took = new Map<string, number>();
  const rules = allRules().filter(({ key }) => new RegExp(only).test(key));
  const uses = await recordUses(
    (name, row) =>
      rules.length > 0 && name.includes(rows) && (all || row.longOnly !== true || name.includes(ioThreads)),
    ({ name, outcome, ms, detail }) => {
      if (outcome === 'works') took.set(name, ms);
      print(`${outcome} ${name} (${ms} ms)${outcome === 'failed' ? detail : ''}`);
    },
  );
  const results: Evidence[] = [];
  for (const rule of rules) {
    const users = [...took].filter(([name]) => uses.get(name)?.has(rule.key) === true).sort(([, a], [, b]) => a - b);
    const evidence = await removeRule(
      rule,
      users.slice(0, triesPerRule).map(([name]) => name),
    );
    results.push(evidence);
    print(`${rule.key}: ${JSON.stringify(evidence.lost ?? 'NOTHING IS LOST')} (used by ${users.length} rows)`);
  }
  const features: Evidence[] = [];
  for (const name of featureNames) {
    if (!new RegExp(only).test(`feature ${name}`)) continue;
    const evidence = await removeFeature(name);
    features.push(evidence);
    print(`feature ${name}: ${JSON.stringify(evidence.lost ?? 'NOTHING IS LOST')}`);
  }
  const unneeded = [...results, ...features].filter(({ lost }) => lost === undefined);
  print(`${results.length} rules and ${features.length} features, ${unneeded.length} without evidence`);
  const known = documentedLines(readFileSync(packagePath(documentPath), 'utf8'));
  const keys = { rules: allRules().map(({ key }) => key), features: featureNames };
  writeFileSync(packagePath(documentPath), renderEvidence(keys, [...results, ...features], known));
  return unneeded.length === 0 ? 0 : 1;
}
