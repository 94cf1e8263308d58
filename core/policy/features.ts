// SPDX-License-Identifier: Apache-2.0
// A profile's features: their names for people who choose, and which of them would permit a call that was refused.

import { lastKnownNr } from '../tables/index.ts';
import { letsThrough } from './actions.ts';
import { type Decisions, gather, joinDecisions, toSyscallRules } from './decisions.ts';
import { readDocument } from './document.ts';
import { evaluate } from './evaluate.ts';
import { type FlatRule, type FlattenContext, flattenRules } from './flatten.ts';
import { readLibrary } from './library.ts';
import type { ParseOptions } from './parse-profile.ts';
import { ProblemList } from './problem.ts';
import { profileSchema, type RawProfile } from './schema.ts';
import { checkSchema } from './schema-problems.ts';
import type { Action, FilterPolicy, Source, SyscallCall } from './types.ts';

export interface ProfileFeature {
  readonly name: string;
  readonly why: string;
  readonly source: Source;
  /** What it adds to the filter of each stage, inherited additions included. Everything else is refused. */
  readonly stages: ReadonlyMap<string, FilterPolicy>;
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
  const features = [...library.features].map(([name, feature]): ProfileFeature => {
    const own = new Map(
      Object.entries(feature.raw.stages).map(([stage, { syscalls }]): [string, Decisions] => {
        const path = [...feature.path, 'stages', stage, 'syscalls'];
        return [stage, gather(flattenRules({ raw: syscalls ?? [], document: feature.document, path }, context))];
      }),
    );
    const stages = Object.keys(raw.stages).map((stage): [string, FilterPolicy] => {
      const decisions = lineage(raw, stage).reduce<Decisions>(
        (joined, each) => joinDecisions(joined, own.get(each) ?? new Map()),
        new Map(),
      );
      const syscalls = toSyscallRules(decisions, options.arch, refused, problems);
      const defaults = { otherwise: refused, unknown: refused, foreign: refused };
      return [stage, { arch: options.arch, syscalls, ...defaults, lastKnownNr: lastKnownNr(options.arch) }];
    });
    const source = feature.document.atKey(feature.path);
    return { name, why: feature.raw.why, source, stages: new Map(stages) };
  });
  problems.throwIfAny();
  return features.sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** Names of the features that would permit the call in the stage, by the kernel or by the broker. */
export function featuresThatAllow(
  features: readonly ProfileFeature[],
  stage: string,
  call: SyscallCall,
): readonly string[] {
  return features
    .filter(({ stages }) => {
      const added = stages.get(stage);
      if (added === undefined) return false;
      const { action } = evaluate(added, call);
      return letsThrough(action) || action.kind === 'broker';
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
