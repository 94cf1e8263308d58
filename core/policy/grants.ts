// SPDX-License-Identifier: Apache-2.0
import { RatchetError } from '../errors.ts';
import { brokerRequestKinds } from './actions.ts';
import { checkTarget, targetContains } from './broker-rules.ts';
import { checkProgramExists } from './programs.ts';
import type { BrokerRequestKind, BrokerRule, ResolvedProfile, ResolvedStage } from './types.ts';

/** A permission that the launcher adds to the profile's own, as `--allow connect=tcp:192.0.2.1:4444` does. */
export interface Grant {
  readonly request: BrokerRequestKind;
  readonly target: string;
  /** The first stage it holds in; the first of the profile when absent. */
  readonly fromStage?: string;
}

/** Reads `connect=tcp:127.0.0.1:4444`. The target itself is checked where the grant is placed. @throws RatchetError ARGUMENT_INVALID. */
export function parseGrant(text: string, option: string): Grant {
  const separator = text.indexOf('=');
  const request = brokerRequestKinds.find((kind) => kind === text.slice(0, Math.max(separator, 0)));
  if (request === undefined)
    throw new RatchetError('ARGUMENT_INVALID', `${option} ${text} is not a grant`, {
      next: 'write connect=ADDR, bind=ADDR, open=PATH[:ro], tap=NAME[@BRIDGE], device=char:MAJOR:MINOR, memory=SIZE, terminal=any, pair=KIND or exec=NAME',
    });
  return { request, target: text.slice(separator + 1) };
}

/**
 * The profile with broker rules added to every stage that is not closed to them: `allow` is granted for the VM's life, `mayGrant` only when the launcher
 * says so while it runs. Throws ADDRESS_INVALID for a bad target and STAGE_UNKNOWN for a bad stage.
 */
export function withGrants(
  profile: ResolvedProfile,
  allow: readonly Grant[],
  mayGrant: readonly Grant[] = [],
): ResolvedProfile {
  const placed = [
    ...allow.map((grant, index) => place(profile, grant, brokerRule('--allow', grant, index))),
    ...mayGrant.map((grant, index) =>
      place(profile, grant, { ...brokerRule('--may-grant', grant, index), mayGrant: true }),
    ),
  ];
  const stages = profile.stages.map((stage) => {
    if (stage.closedToGrants) return stage;
    const added = placed.filter(({ first }) => first <= stage.epoch).map(({ rule }) => rule);
    return { ...stage, broker: [...stage.broker, ...added] };
  });
  return { ...profile, stages };
}

/**
 * The rule of the stage that lets the launcher grant this target while the VM runs: one that lets it be granted, or grants it for good. Undefined when there
 * is none, or when the stage refuses all of it by name.
 */
export function ceilingOf(stage: ResolvedStage, request: BrokerRequestKind, target: string): BrokerRule | undefined {
  if (stage.closedToGrants) return undefined;
  const covering = stage.broker.filter(
    (rule) => rule.request === request && targetContains(request, rule.target, target),
  );
  if (covering.some(({ refuseErrno }) => refuseErrno !== undefined)) return undefined;
  return covering[0];
}

function place(profile: ResolvedProfile, grant: Grant, rule: BrokerRule): { readonly rule: BrokerRule; first: number } {
  checkTarget(grant.request, grant.target);
  if (grant.request === 'exec') checkProgramExists(profile, grant.target);
  return { rule, first: grant.fromStage === undefined ? 0 : epochOf(profile, grant.fromStage) };
}

function brokerRule(option: string, { request, target }: Grant, index: number): BrokerRule {
  const source = { file: option, line: index + 1, column: 1 };
  return { request, target, refuseErrno: undefined, why: `given at launch: ${option} ${request}=${target}`, source };
}

function epochOf(profile: ResolvedProfile, name: string): number {
  const stage = profile.stages.find((candidate) => candidate.name === name);
  if (stage !== undefined) return stage.epoch;
  const known = profile.stages.map((candidate) => candidate.name).join(', ');
  throw new RatchetError('STAGE_UNKNOWN', `profile ${profile.name} has no stage "${name}"`, {
    next: `use one of ${known}`,
  });
}
