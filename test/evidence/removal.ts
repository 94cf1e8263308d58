// SPDX-License-Identifier: Apache-2.0
// Takes one rule after the other out of stage `running` and shows what it was for: the cheapest row of the matrix that used it is run without it, for real.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { load as parse } from 'js-yaml';
import { loadProfile } from '../../core/profile-files.ts';
import { packagePath } from '../../native/package-path.ts';
import { areas } from '../matrix/areas.ts';
import type { Row } from '../matrix/row.ts';
import { type RowResult, runRows } from '../matrix/runner.ts';
import { SyscallRecorder } from '../matrix/syscalls.ts';
import type { Vm } from '../matrix/vm.ts';
import { elsewhere, featuresElsewhere } from './elsewhere.ts';
import { permittingRules, ruleKey, rulesUsed, runningStage, withoutRule } from './rules.ts';

export interface Evidence {
  readonly key: string;
  readonly why: string;
  /** What was lost without the rule, and in which row; or why no row of this machine shows it. */
  readonly lost:
    | { readonly row: string; readonly how: string }
    | { readonly elsewhere: string; readonly source: string }
    | undefined;
}

/** Rows on the base profile that work here and can be followed, by name. */
export const candidates: ReadonlyMap<string, Row> = new Map(
  areas.flatMap(({ area, rows }) =>
    rows
      .filter((row) => (row.features ?? []).length === 0 && row.limit === undefined && row.untraced !== true)
      .filter((row) => row.missing?.() === undefined)
      .map((row) => [`${area}: ${row.operation} (${row.way})`, row] as const),
  ),
);

export type Uses = ReadonlyMap<string, ReadonlySet<string>>;

/** Runs rows once and tells which rules each used. @param onResult hears of each row with how long it took. */
export async function recordUses(
  wanted: (name: string, row: Row) => boolean,
  onResult: (result: RowResult) => void,
): Promise<Uses> {
  const stage = runningStage(loadProfile('qemu'));
  const uses = new Map<string, ReadonlySet<string>>();
  await inFolder(async (folder) => {
    await using recorder = new SyscallRecorder(folder);
    await runRows(areas, {
      folder,
      workSeconds: 1,
      wanted: (name, row) => candidates.has(name) && wanted(name, row),
      recorder,
      afterRow: async (name, vms) => {
        const roles = await rolesOf(vms);
        const calls = recorder.takeCalls().map((call) => ({ ...call, role: roles.get(call.tid ?? 0) ?? 'process' }));
        uses.set(name, new Set(calls.flatMap((call) => rulesUsed(stage, call))));
      },
      onResult,
    });
  });
  return uses;
}

async function rolesOf(vms: Iterable<Vm>): Promise<ReadonlyMap<number, string>> {
  const found = new Map<number, string>();
  for (const vm of vms)
    for (const [tid, role] of await vm.sandbox.vmm.threadRoles().catch(() => [])) found.set(tid, role);
  return found;
}

/** The rows that want features and work here, by the feature that they show. */
export const featureRows: ReadonlyMap<string, readonly string[]> = (() => {
  const found = new Map<string, string[]>();
  for (const { area, rows } of areas)
    for (const row of rows)
      if (row.limit === undefined && row.missing?.() === undefined)
        for (const feature of row.features ?? [])
          found.set(feature, [...(found.get(feature) ?? []), `${area}: ${row.operation} (${row.way})`]);
  return found;
})();

/** The row's result when the VM is launched without the features that it wants. */
export async function runWithoutFeatures(name: string): Promise<RowResult> {
  const plain = areas.map(({ area, rows }) => ({ area, rows: rows.map((row) => ({ ...row, features: [] })) }));
  let result: RowResult | undefined;
  await inFolder((folder) =>
    runRows(plain, {
      folder,
      workSeconds: 1,
      wanted: (each) => each === name,
      onResult: (each) => {
        result = each;
      },
    }),
  );
  if (result === undefined) throw new Error(`there is no row "${name}"`);
  return result;
}

/** One feature: the first of its rows that fails without it, best one that loses its effect. */
export async function removeFeature(feature: string): Promise<Evidence> {
  const rule = { key: feature, why: '' };
  let refused: Evidence | undefined;
  for (const row of featureRows.get(feature) ?? []) {
    const { outcome, detail } = await runWithoutFeatures(row);
    if (outcome !== 'failed') continue;
    const named = detail.includes(`--feature ${feature}`) ? '; the event names the feature' : '';
    const shown = { ...rule, lost: { row, how: `${inShort(detail)}${named}` } };
    if (!isRefusalOnly(detail)) return shown;
    refused ??= shown;
  }
  if (refused !== undefined) return refused;
  const known = featuresElsewhere[feature];
  if (known === undefined) return { ...rule, lost: undefined };
  return { ...rule, lost: { elsewhere: known.evidence, source: known.source } };
}

/** The row's result when QEMU is without the rule; undefined: when every rule is written by itself and none is missing. */
export async function runWithout(key: string | undefined, name: string): Promise<RowResult> {
  const profile = parse(readFileSync(packagePath('profiles/qemu.yaml'), 'utf8')) as {
    $schema?: string;
    readonly stages: Record<string, object>;
  };
  delete profile.$schema;
  const stage = runningStage(loadProfile('qemu'));
  profile.stages['running'] = { ...profile.stages['running'], ...withoutRule(stage, key) };
  // A profile that is not valid shows nothing.
  loadProfile(profile);
  let result: RowResult | undefined;
  await inFolder((folder) =>
    runRows(areas, {
      folder,
      profile,
      workSeconds: 1,
      wanted: (each) => each === name,
      onResult: (each) => {
        result = each;
      },
    }),
  );
  if (result === undefined) throw new Error(`there is no row "${name}"`);
  return result;
}

/** One rule: tries the rows that used it, cheapest first, until one loses its effect, and not only sees the refusal. */
export async function removeRule(
  rule: { readonly key: string; readonly why: string },
  rows: readonly string[],
): Promise<Evidence> {
  let refused: Evidence | undefined;
  for (const row of rows) {
    const { outcome, detail } = await runWithout(rule.key, row);
    if (outcome !== 'failed') continue;
    const shown = { ...rule, lost: { row, how: inShort(detail) } };
    if (!isRefusalOnly(detail)) return shown;
    refused ??= shown;
  }
  if (refused !== undefined) return refused;
  const known = elsewhere.find(({ rule: pattern }) => pattern.test(rule.key));
  if (known === undefined) return { ...rule, lost: undefined };
  return { ...rule, lost: { elsewhere: known.evidence, source: known.source } };
}

export function allRules(): readonly { readonly key: string; readonly why: string }[] {
  return permittingRules(runningStage(loadProfile('qemu'))).map((rule) => ({ key: ruleKey(rule), why: rule.why }));
}

function isRefusalOnly(detail: string): boolean {
  return detail.startsWith('Error: refused: ');
}

/** The first line, without what differs from run to run. */
function inShort(detail: string): string {
  const [line = ''] = detail.split('\n');
  return line
    .replace(/^(Ratchet)?Error: /, '')
    .replace(/^refused: (\w+)\(.*?\) = -(\w+) in thread (\S+).*$/, 'the row does its work, and $1 is refused with $2')
    .replaceAll(/\/tmp\/rm-\w+/g, '')
    .replaceAll(/\b\d{3,}\b/g, 'N')
    .slice(0, 160);
}

async function inFolder(act: (folder: string) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'rm-'));
  try {
    await act(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}
