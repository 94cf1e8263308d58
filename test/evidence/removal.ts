// SPDX-License-Identifier: Apache-2.0
// Takes one rule after the other out of stage `running` and shows what it was for: the cheapest row of the matrix that used it is run without it, for real.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { load as parse } from 'js-yaml';
import type { ResolvedStage } from '../../core/policy/types.ts';
import { loadProfile } from '../../core/profile-files.ts';
import { packagePath } from '../../native/package-path.ts';
import { areas } from '../matrix/areas.ts';
import { type Area, type Row, rowName } from '../matrix/row.ts';
import { type RowResult, runRows } from '../matrix/runner.ts';
import { SyscallRecorder } from '../matrix/syscalls.ts';
import type { Vm } from '../matrix/vm.ts';
import { elsewhere, featuresElsewhere } from './elsewhere.ts';
import { ownAreas } from './rows/index.ts';
import {
  permittingRules,
  ruleKey,
  rulesUsed,
  runningStage,
  stageOf,
  withoutRule,
  writtenBroker,
  writtenFilter,
} from './rules.ts';

/** Those of the matrix, and the evidence's own. */
export const allAreas: readonly Area[] = [...areas, ...ownAreas];

export interface Evidence {
  readonly key: string;
  /** What was lost without the rule, and in which row; or why no row of this machine shows it. */
  readonly lost:
    | { readonly row: string; readonly how: string }
    | { readonly elsewhere: string; readonly source: string }
    | undefined;
}

/** Rows that work here and can be followed, by name. */
export const candidates: ReadonlyMap<string, Row> = new Map(
  allAreas.flatMap((area) =>
    area.rows
      .filter((row) => row.limit === undefined && row.untraced !== true && row.missing?.() === undefined)
      .map((row) => [rowName(area, row), row] as const),
  ),
);

export type Uses = ReadonlyMap<string, ReadonlySet<string>>;

/** Runs rows once and tells which rules each used. @param onResult hears of each row with how long it took. */
export async function recordUses(
  wanted: (name: string, row: Row) => boolean,
  onResult: (result: RowResult) => void,
): Promise<Uses> {
  const uses = new Map<string, ReadonlySet<string>>();
  await inFolder(async (folder) => {
    await using recorder = new SyscallRecorder(folder);
    await runRows(allAreas, {
      folder,
      workSeconds: 1,
      wanted: (name, row) => candidates.has(name) && wanted(name, row),
      recorder,
      afterRow: async (name, vms) => {
        const roles = await rolesOf(vms);
        const parents = recorder.parents();
        const calls = recorder.takeCalls().map((call) => ({ ...call, role: roleOf(call.tid, roles, parents) }));
        const stage = stageWith(candidates.get(name)?.features ?? []);
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

/** A thread without a role of its own has the filters of the thread that made it. */
function roleOf(
  tid: number | undefined,
  roles: ReadonlyMap<number, string>,
  parents: ReadonlyMap<number, number>,
): string {
  for (let each = tid; each !== undefined; each = parents.get(each)) {
    const role = roles.get(each);
    if (role !== undefined) return role;
  }
  return 'process';
}

/** The row's result when QEMU is without the rule; undefined: when every rule is written by itself and none is missing. Its features are part of the profile. */
export async function runWithout(key: string | undefined, name: string): Promise<RowResult> {
  const features = candidates.get(name)?.features ?? [];
  return await runOne(name, { features: [], profile: profileWithout(key, features) });
}

function profileWithout(key: string | undefined, features: readonly string[]): Readonly<Record<string, unknown>> {
  const profile = parse(readFileSync(packagePath('profiles/qemu.yaml'), 'utf8')) as {
    $schema?: string;
    readonly stages: Record<string, object>;
  };
  delete profile.$schema;
  const resolved = loadProfile('qemu', { features });
  const [start, running] = [stageOf(resolved, 'start'), runningStage(resolved)];
  const { stages } = profile;
  stages['start'] = { ...stages['start'], syscalls: writtenFilter(start.filter), broker: writtenBroker(start) };
  stages['running'] = { ...stages['running'], ...withoutRule(running, key), broker: writtenBroker(running) };
  // A profile that is not valid shows nothing.
  loadProfile(profile);
  return profile;
}

/** One row, on machines of its own. */
export async function runOne(
  name: string,
  options: {
    /** Instead of those that the row wants. */
    readonly features?: readonly string[];
    readonly profile?: Readonly<Record<string, unknown>>;
    readonly afterFailure?: (vms: Iterable<Vm>) => Promise<void>;
  } = {},
): Promise<RowResult> {
  const { features, ...others } = options;
  const chosen = allAreas.map((area) => ({
    ...area,
    rows: area.rows.map((row) => (features === undefined || rowName(area, row) !== name ? row : { ...row, features })),
  }));
  let result: RowResult | undefined;
  await inFolder((folder) =>
    runRows(chosen, {
      ...others,
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

/** One rule: tries the rows that used it, cheapest first, until one loses its effect, and not only sees the refusal. */
export async function removeRule(rule: string, rows: readonly string[], feature?: string): Promise<Evidence> {
  const key = feature === undefined ? rule : featureRuleKey(feature, rule);
  let refused: Evidence | undefined;
  for (const row of rows) {
    const { outcome, detail } = await runWithout(rule, row);
    if (outcome !== 'failed' || !(await isForTheRule(detail, row))) continue;
    const shown = { key, lost: { row, how: inShort(detail) } };
    if (!isRefusalOnly(detail)) return shown;
    refused ??= shown;
  }
  if (refused !== undefined) return refused;
  const known = featuresElsewhere[feature ?? ''] ?? elsewhere.find(({ rule: pattern }) => pattern.test(key));
  if (known === undefined) return { key, lost: undefined };
  return { key, lost: { elsewhere: known.evidence, source: known.source } };
}

/** A refusal or QEMU's end says so by itself. Any other failure may be the busy machine's: the row has to work there with all rules. */
async function isForTheRule(detail: string, row: string): Promise<boolean> {
  if (/-E[A-Z]+ in thread|not permitted|QEMU has ended|the VM ended/.test(detail)) return true;
  const known = worksWithAll.get(row) ?? runWithout(undefined, row).then(({ outcome }) => outcome === 'works');
  worksWithAll.set(row, known);
  return await known;
}
const worksWithAll = new Map<string, Promise<boolean>>();

/** The keys of the base's rules. */
export function allRules(): readonly string[] {
  return permittingRules(stageWith([])).map(ruleKey);
}

/** Those of the rules that a feature adds. What it adds to the stage holds in roles too: of these only what it adds to a role alone. */
export function rulesOfFeature(feature: string): readonly string[] {
  const base = new Set(allRules());
  const added = permittingRules(stageWith([feature])).filter((rule) => !base.has(ruleKey(rule)));
  const ofStage = new Set(added.filter(({ role }) => role === 'process').map(ruleKey));
  const keys = added.filter((rule) => rule.role === 'process' || !ofStage.has(ruleKey({ ...rule, role: 'process' })));
  return [...new Set(keys.map(ruleKey))];
}

/** What the document calls a rule of a feature. */
export function featureRuleKey(feature: string, rule: string): string {
  return `${feature}: ${rule}`;
}

function stageWith(features: readonly string[]): ResolvedStage {
  return runningStage(loadProfile('qemu', { features }));
}

export function isRefusalOnly(detail: string): boolean {
  return detail.startsWith('Error: refused: ');
}

/** The first line, without what differs from run to run. */
export function inShort(detail: string): string {
  const [line = ''] = detail.split('\n');
  return line
    .replace(/^(Ratchet)?Error: /, '')
    .replace(/ - meanwhile the VMM was refused .*$/, '')
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
