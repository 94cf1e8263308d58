// SPDX-License-Identifier: Apache-2.0
// From a profile's text to the resolved policy: YAML, schema, names, numbers. Everything that is wrong is reported at once.

import { lastKnownNr } from '../tables/index.ts';
import { letsThrough } from './actions.ts';
import { readBroker } from './broker-rules.ts';
import { untoldOfRoles } from './dangerous.ts';
import { type Decisions, gather, joinDecisions, toSyscallRules } from './decisions.ts';
import { readDocument } from './document.ts';
import { expandNames, type FlatRule, type FlattenContext, flattenGroup, flattenRules } from './flatten.ts';
import { readStageLayers } from './layers.ts';
import { type Include, type Placed, readLibrary } from './library.ts';
import { parseDefault } from './parse-action.ts';
import { isEmpty, isFdRequirement, noRequirements, readRequires } from './preconditions.ts';
import { ProblemList } from './problem.ts';
import { checkProgramsExist, readPrograms } from './programs.ts';
import { profileSchema, type RawProfile, type RawRole, type RawRule, type RawStage } from './schema.ts';
import { checkSchema } from './schema-problems.ts';
import { checkStageFiles } from './stage-files.ts';
import { suggestion } from './suggest.ts';
import type { Action, Arch, BrokerRule, FilterPolicy, Requirements, ResolvedProfile, ResolvedStage } from './types.ts';
import { type RoleText, rememberRole } from './untold.ts';

export interface ParseOptions {
  /** Name of the text in messages. */
  readonly file: string;
  readonly arch: Arch;
  /** Features to add, by name. */
  readonly features?: readonly string[];
  readonly include: Include;
}

/** Reads a profile for one architecture. Throws ProfileError (PROFILE_INVALID) with every problem found. */
export function parseProfile(text: string, options: ParseOptions): ResolvedProfile {
  const problems = new ProblemList();
  const document = readDocument(text, options.file, problems);
  const raw = document && checkSchema(document, profileSchema, problems);
  const layers = document && raw ? readStageLayers(raw, document, problems) : [];
  const profile = document && raw && resolve({ raw, document, path: [] }, options, problems);
  if (document && profile) checkStageFiles(profile, layers, document, problems);
  problems.throwIfAny();
  if (profile === undefined) throw new Error('a profile without problems was not resolved');
  return profile;
}

/** A stage on its way: what a later one can build on. */
interface Draft {
  readonly decisions: Decisions;
  readonly defaults: Defaults;
  readonly broker: readonly BrokerRule[];
  /** What features add to roles, by role. */
  readonly roleAdditions: ReadonlyMap<string, readonly FlatRule[]>;
  readonly requires: Requirements;
}

interface Defaults {
  readonly otherwise: Action;
  readonly unknown: Action;
  readonly foreign: Action;
}

interface ResolveContext extends FlattenContext {
  readonly features: readonly string[];
}

function resolve(placed: Placed<RawProfile>, options: ParseOptions, problems: ProblemList): ResolvedProfile {
  const { raw, document } = placed;
  const library = readLibrary(placed, options.include, problems);
  const flattened = new Map<string, readonly FlatRule[]>();
  const context = { arch: options.arch, library, problems, flattened, features: options.features ?? [] };
  for (const feature of context.features) {
    if (!library.features.has(feature)) {
      const known = [...library.features.keys()].sort().join(', ');
      const list = suggestion(feature, library.features.keys()) || `: the profile has ${known || 'none'}`;
      problems.add(document.at([]), 'unknown-feature', `unknown feature "${feature}"${list}`);
    }
  }
  checkFeatureStages(context, Object.keys(raw.stages));
  for (const [name, rules] of library.groups) {
    // Groups that no stage uses are read too: a mistake in them should not wait for its first user.
    flattenGroup(name, rules, context);
  }
  const names = Object.keys(raw.stages);
  if (names.length === 0) problems.add(document.at(['stages']), 'missing-key', 'a profile needs at least one stage');
  const drafts = new Map<string, Draft>();
  const stages = Object.entries(raw.stages).map(([name, stage], epoch) => {
    checkName(name, document.atKey(['stages', name]), problems);
    const placedStage = { raw: stage, document, path: ['stages', name] };
    const draft = draftStage(placedStage, name, drafts, context);
    drafts.set(name, draft);
    return finishStage(placedStage, name, epoch, draft, context);
  });
  const programs = readPrograms(placed, problems);
  checkProgramsExist(stages, programs, problems);
  return {
    name: raw.name,
    file: options.file,
    vmm: raw.vmm,
    arch: options.arch,
    stages,
    ...(programs.length === 0 ? {} : { programs }),
  };
}

/** Stage and role names stand in commands and messages, and a key like `10` would be moved to the front by JavaScript. */
function checkName(name: string, source: ReturnType<Placed<unknown>['document']['at']>, problems: ProblemList): void {
  if (!/^[a-z][a-z0-9-]*$/.test(name)) {
    problems.add(
      source,
      'wrong-value',
      `"${name}" is no good name: use small letters, digits and "-", with a letter first`,
    );
  }
}

function draftStage(
  placed: Placed<RawStage>,
  name: string,
  drafts: ReadonlyMap<string, Draft>,
  context: ResolveContext,
): Draft {
  const { raw, document, path } = placed;
  const { problems } = context;
  const base = raw.from === undefined ? undefined : drafts.get(raw.from);
  if (raw.from !== undefined && base === undefined) {
    problems.add(
      document.at([...path, 'from']),
      'unknown-stage',
      `"${raw.from}" is no earlier stage${suggestion(raw.from, drafts.keys())}`,
    );
  }
  if (raw.from === undefined) {
    for (const key of ['keep', 'remove'] as const) {
      if (raw[key] !== undefined)
        problems.add(
          document.atKey([...path, key]),
          'wrong-value',
          `"${key}" needs "from": there is nothing to change`,
        );
    }
    if (raw.broker?.same)
      problems.add(document.atKey([...path, 'broker', 'same']), 'wrong-value', '"same" needs "from"');
  }
  const own = changed(placed, base?.decisions ?? new Map(), context);
  const features = featureRules(name, Object.keys(raw.roles ?? {}), context);
  const ownBroker =
    raw.broker === undefined ? [] : readBroker({ raw: raw.broker, document, path: [...path, 'broker'] }, problems);
  return {
    decisions: joinDecisions(own, gather(features.rules)),
    defaults: readDefaults(placed, base?.defaults, problems),
    broker: [...(raw.broker?.same ? (base?.broker ?? []) : []), ...ownBroker, ...features.broker],
    roleAdditions: features.roles,
    requires: readRequires(
      { raw: raw.requires, document, path: [...path, 'requires'] },
      base?.requires ?? noRequirements,
      features.tolerated,
      problems,
    ),
  };
}

/** Keeps, removes, and replaces call by call. */
function changed(placed: Placed<RawStage | RawRole>, base: Decisions, context: FlattenContext): Decisions {
  const { raw, document, path } = placed;
  const decisions = new Map(base);
  const names = (key: 'keep' | 'remove') => {
    const calls = expandNames({ raw: raw[key] ?? [], document, path: [...path, key] }, context);
    for (const call of calls) {
      if (!base.has(call.name))
        context.problems.add(
          call.source,
          'wrong-value',
          `${call.name} has no rule to ${key} in the stage that this one builds on`,
        );
    }
    return new Set(calls.map((call) => call.name));
  };
  if (raw.keep !== undefined) {
    const kept = names('keep');
    for (const name of base.keys()) if (!kept.has(name)) decisions.delete(name);
  }
  for (const name of names('remove')) decisions.delete(name);
  const rules: Placed<readonly RawRule[]> = { raw: raw.syscalls ?? [], document, path: [...path, 'syscalls'] };
  for (const [name, entry] of gather(flattenRules(rules, context))) decisions.set(name, entry);
  return decisions;
}

/** What the chosen features add to this stage. All features are read, so that the mistakes of the others show too. */
function featureRules(stage: string, roleNames: readonly string[], context: ResolveContext) {
  const roles = new Map<string, readonly FlatRule[]>();
  const all = [...context.library.features].flatMap(([name, { raw, document, path }]) => {
    const part = raw.stages[stage];
    if (part === undefined) return [];
    const chosen = context.features.includes(name);
    const partPath = [...path, 'stages', stage];
    const rules = flattenRules({ raw: part.syscalls ?? [], document, path: [...partPath, 'syscalls'] }, context);
    const broker = readBroker({ raw: part.broker ?? {}, document, path: [...partPath, 'broker'] }, context.problems);
    for (const [role, { syscalls }] of Object.entries(part.roles ?? {})) {
      const rolePath = [...partPath, 'roles', role];
      if (!roleNames.includes(role)) {
        const message = `stage ${stage} has no role "${role}"${suggestion(role, roleNames)}`;
        context.problems.add(document.atKey(rolePath), 'wrong-value', message);
      }
      const added = flattenRules({ raw: syscalls, document, path: [...rolePath, 'syscalls'] }, context);
      if (chosen) roles.set(role, [...(roles.get(role) ?? []), ...added]);
    }
    const tolerated = (part.tolerates ?? []).filter((kind, index) =>
      isFdRequirement(kind, document.at([...partPath, 'tolerates', index]), context.problems),
    );
    return chosen ? [{ rules, broker, tolerated }] : [];
  });
  return {
    rules: all.flatMap(({ rules }) => rules),
    broker: all.flatMap(({ broker }) => broker),
    roles,
    tolerated: new Set(all.flatMap(({ tolerated }) => tolerated)),
  };
}

function checkFeatureStages({ library, problems }: FlattenContext, stages: readonly string[]): void {
  for (const { raw, document, path } of library.features.values()) {
    for (const stage of Object.keys(raw.stages)) {
      if (stages.includes(stage)) continue;
      problems.add(
        document.atKey([...path, 'stages', stage]),
        'unknown-stage',
        `unknown stage "${stage}"${suggestion(stage, stages)}`,
      );
    }
  }
}

const safeDefaults = { default: 'errno EPERM', unknown: 'errno ENOSYS quiet', foreign: 'kill-process' } as const;

function readDefaults(
  { raw, document, path }: Placed<RawStage>,
  base: Defaults | undefined,
  problems: ProblemList,
): Defaults {
  const read = (key: keyof typeof safeDefaults, inherited: Action | undefined): Action => {
    const source = document.at([...path, key]);
    const written = raw[key];
    if (written === undefined && inherited !== undefined) return inherited;
    const action = parseDefault(written ?? safeDefaults[key], source, problems) ?? { kind: 'kill-process' };
    if (letsThrough(action) && raw.risk === undefined) {
      problems.add(
        source,
        'dangerous',
        `"${key}: ${written}" lets calls through that nobody listed: give the stage a "risk" that says why`,
      );
    }
    return action;
  };
  return {
    otherwise: read('default', base?.otherwise),
    unknown: read('unknown', base?.unknown),
    foreign: read('foreign', base?.foreign),
  };
}

function finishStage(
  placed: Placed<RawStage>,
  name: string,
  epoch: number,
  draft: Draft,
  context: ResolveContext,
): ResolvedStage {
  const { raw, document, path } = placed;
  const roles = Object.entries(raw.roles ?? {}).map(([role, rawRole]): readonly [string, FilterPolicy] => {
    const rolePath = [...path, 'roles', role];
    checkName(role, document.atKey(rolePath), context.problems);
    const own = changed({ raw: rawRole, document, path: rolePath }, draft.decisions, context);
    const decisions = joinDecisions(own, gather(draft.roleAdditions.get(role) ?? []));
    const written = rawRole.default;
    const otherwise =
      written === undefined
        ? undefined
        : parseDefault(written, document.at([...rolePath, 'default']), context.problems);
    if (otherwise !== undefined && letsThrough(otherwise) && !letsThrough(draft.defaults.otherwise)) {
      context.problems.add(
        document.at([...rolePath, 'default']),
        'dangerous',
        'a role can only be tighter than its stage',
      );
    }
    const policy = filterOf(
      decisions,
      { ...draft.defaults, otherwise: otherwise ?? draft.defaults.otherwise },
      context,
    );
    rememberRole(policy, roleText({ raw: rawRole, document, path: rolePath }, context));
    return [role, policy];
  });
  return {
    name,
    epoch,
    filter: filterOf(draft.decisions, draft.defaults, context),
    roles: Object.fromEntries(roles),
    broker: draft.broker,
    ...(isEmpty(draft.requires) ? {} : { requires: draft.requires }),
    ...(raw.grants === 'closed' ? { closedToGrants: true } : {}),
  };
}

function roleText({ raw, document, path }: Placed<RawRole>, context: FlattenContext): RoleText {
  for (const [index, name] of (raw.untold ?? []).entries()) {
    if (untoldOfRoles.has(name)) continue;
    const message = `"${name}" is no call that goes untold: what roles refuse of it is told${suggestion(name, untoldOfRoles)}`;
    context.problems.add(document.at([...path, 'untold', index]), 'wrong-value', message);
  }
  const removed = expandNames({ raw: raw.remove ?? [], document, path: [...path, 'remove'] }, context);
  return {
    source: document.atKey(path),
    removed: new Map(removed.map(({ name, source }) => [name, source])),
    untold: new Set(raw.untold),
  };
}

function filterOf(decisions: Decisions, defaults: Defaults, { arch, problems }: FlattenContext): FilterPolicy {
  const syscalls = toSyscallRules(decisions, arch, defaults.otherwise, problems);
  return { arch, syscalls, ...defaults, lastKnownNr: lastKnownNr(arch) };
}
