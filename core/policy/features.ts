// SPDX-License-Identifier: Apache-2.0
// A profile's features: their names for people who choose, and which of them would permit a call that was refused.

import { lastKnownNr } from '../tables/index.ts';
import { letsThrough } from './actions.ts';
import { matchPath, type PathAccess, parsePathRule } from './address/index.ts';
import { readBroker } from './broker-rules.ts';
import { type Decisions, gather, joinDecisions, toSyscallRules } from './decisions.ts';
import { readDocument } from './document.ts';
import { evaluate } from './evaluate.ts';
import { type FlatRule, type FlattenContext, flattenRules } from './flatten.ts';
import { readLibrary } from './library.ts';
import type { ParseOptions } from './parse-profile.ts';
import { ProblemList } from './problem.ts';
import { profileSchema, type RawProfile, type RawRule } from './schema.ts';
import { checkSchema } from './schema-problems.ts';
import type { Action, BrokerRule, FilterPolicy, Source, SyscallCall } from './types.ts';

export interface ProfileFeature {
  readonly name: string;
  readonly why: string;
  readonly source: Source;
  /** What it adds to each stage, inherited additions included. */
  readonly stages: ReadonlyMap<string, FeatureAdditions>;
}

export interface FeatureAdditions {
  /** Everything that is not added is refused. */
  readonly filter: FilterPolicy;
  /** To roles alone: what their stage permits without the feature. */
  readonly roles: ReadonlyMap<string, FilterPolicy>;
  /** What its broker rules grant. Later stages inherit none of these. */
  readonly grants: readonly BrokerRule[];
}

/** What was refused. */
export interface RefusedCall {
  readonly call: SyscallCall;
  /** Of the thread, where it has one. */
  readonly role?: string | undefined;
  /** The file that it would have opened, where the broker refused that. */
  readonly open?: { readonly path: string; readonly access: PathAccess } | undefined;
}

const refused: Action = { kind: 'errno', errno: 1, quiet: true };

/** All features that can be chosen, sorted by name. Throws ProfileError (PROFILE_INVALID) for a profile that cannot be read. */
export function readFeatures(text: string, options: Omit<ParseOptions, 'features'>): readonly ProfileFeature[] {
  const problems = new ProblemList();
  const document = readDocument(text, options.file, problems);
  const raw = document && checkSchema(document, profileSchema, problems);
  problems.throwIfAny();
  if (document === undefined || raw === undefined) return [];
  const library = readLibrary({ raw, document, path: [] }, options.include, problems);
  const context: FlattenContext = {
    arch: options.arch,
    library,
    problems,
    flattened: new Map<string, readonly FlatRule[]>(),
  };
  const defaults = { arch: options.arch, otherwise: refused, unknown: refused, foreign: refused };
  const filterOf = (decisions: Decisions): FilterPolicy => ({
    ...defaults,
    syscalls: toSyscallRules(decisions, options.arch, refused, problems),
    lastKnownNr: lastKnownNr(options.arch),
  });
  const features = [...library.features].map(([name, feature]): ProfileFeature => {
    const { document } = feature;
    const own = new Map(
      Object.entries(feature.raw.stages).map(([stage, raw]): [string, OwnAdditions] => {
        const path = [...feature.path, 'stages', stage];
        const rules = (syscalls: readonly RawRule[] | undefined, ...below: readonly string[]): Decisions =>
          gather(flattenRules({ raw: syscalls ?? [], document, path: [...path, ...below, 'syscalls'] }, context));
        const roles = Object.entries(raw.roles ?? {}).map(
          ([role, { syscalls }]) => [role, rules(syscalls, 'roles', role)] as const,
        );
        const broker = readBroker({ raw: raw.broker ?? {}, document, path: [...path, 'broker'] }, problems);
        return [stage, { syscalls: rules(raw.syscalls), roles: new Map(roles), broker }];
      }),
    );
    const stages = Object.keys(raw.stages).map((stage): [string, FeatureAdditions] => {
      const inherited = lineage(raw, stage).flatMap((each) => own.get(each) ?? []);
      const joined = (parts: readonly Decisions[]): FilterPolicy =>
        filterOf(parts.reduce<Decisions>(joinDecisions, new Map()));
      const roleNames = new Set(inherited.flatMap(({ roles }) => [...roles.keys()]));
      const roles = [...roleNames].map(
        (role) => [role, joined(inherited.flatMap((each) => each.roles.get(role) ?? []))] as const,
      );
      const grants = (own.get(stage)?.broker ?? []).filter(
        ({ refuseErrno, mayGrant }) => refuseErrno === undefined && mayGrant !== true,
      );
      return [stage, { filter: joined(inherited.map(({ syscalls }) => syscalls)), roles: new Map(roles), grants }];
    });
    const source = feature.document.atKey(feature.path);
    return { name, why: feature.raw.why, source, stages: new Map(stages) };
  });
  problems.throwIfAny();
  return features.sort((a, b) => (a.name < b.name ? -1 : 1));
}

interface OwnAdditions {
  readonly syscalls: Decisions;
  readonly roles: ReadonlyMap<string, Decisions>;
  readonly broker: readonly BrokerRule[];
}

/** Names of the features that would permit the call in the stage, by the kernel or by the broker. */
export function featuresThatAllow(
  features: readonly ProfileFeature[],
  stage: string,
  { call, role, open }: RefusedCall,
): readonly string[] {
  const permits = (filter: FilterPolicy | undefined): boolean => {
    if (filter === undefined) return false;
    const { action } = evaluate(filter, call);
    return letsThrough(action) || action.kind === 'broker';
  };
  const grants = ({ request, target }: BrokerRule): boolean =>
    open !== undefined && request === 'open' && matchPath(parsePathRule(target), open.path, open.access);
  return features
    .filter(({ stages }) => {
      const added = stages.get(stage);
      if (added === undefined) return false;
      return permits(added.filter) || permits(added.roles.get(role ?? '')) || added.grants.some(grants);
    })
    .map(({ name }) => name);
}

/** The stage and those that it builds on. */
function lineage(raw: RawProfile, stage: string): readonly string[] {
  const names: string[] = [];
  for (let next: string | undefined = stage; next !== undefined; next = raw.stages[next]?.from) {
    if (names.includes(next)) break;
    names.push(next);
  }
  return names;
}
