// SPDX-License-Identifier: Apache-2.0
import { RatchetError } from '../errors.ts';
import { checkTarget } from './broker-rules.ts';
import type { BrokerRequestKind, BrokerRule, ResolvedProfile } from './types.ts';

/** A permission that the launcher adds to the profile's own, as `--allow connect=tcp:192.0.2.1:4444` does. */
export interface Grant {
  readonly request: BrokerRequestKind;
  readonly target: string;
  /** The first stage it holds in; the first of the profile when absent. */
  readonly fromStage?: string;
}

/** The profile with broker rules added to every stage that is not closed to them. Throws ADDRESS_INVALID for a bad target and STAGE_UNKNOWN for a bad stage. */
export function withGrants(profile: ResolvedProfile, grants: readonly Grant[]): ResolvedProfile {
  const placed = grants.map((grant, index) => {
    checkTarget(grant.request, grant.target);
    const first = grant.fromStage === undefined ? 0 : epochOf(profile, grant.fromStage);
    return { rule: brokerRule(grant, index), first };
  });
  const stages = profile.stages.map((stage) => {
    if (stage.closedToGrants) return stage;
    const added = placed.filter(({ first }) => first <= stage.epoch).map(({ rule }) => rule);
    return { ...stage, broker: [...stage.broker, ...added] };
  });
  return { ...profile, stages };
}

function brokerRule({ request, target }: Grant, index: number): BrokerRule {
  const source = { file: '--allow', line: index + 1, column: 1 };
  return { request, target, refuseErrno: undefined, why: `granted at launch: --allow ${request}=${target}`, source };
}

function epochOf(profile: ResolvedProfile, name: string): number {
  const stage = profile.stages.find((candidate) => candidate.name === name);
  if (stage !== undefined) return stage.epoch;
  const known = profile.stages.map((candidate) => candidate.name).join(', ');
  throw new RatchetError('STAGE_UNKNOWN', `profile ${profile.name} has no stage "${name}"`, {
    next: `use one of ${known}`,
  });
}
