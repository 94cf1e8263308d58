// SPDX-License-Identifier: Apache-2.0
import { brokerRequestKinds } from './actions.ts';
import { targetContains } from './broker-rules.ts';
import type { BrokerRequestKind, BrokerRule, ResolvedProfile, ResolvedStage, Source } from './types.ts';

/** A broker rule by which a stage grants more than the one before it. */
export interface BrokerLoosening extends Source {
  readonly code: 'broker-loosens';
  readonly message: string;
}

/**
 * Every grant of a later stage must lie within one grant of the stage before, what it lets the launcher grant within what that stage grants or lets it
 * grant, and what that stage refuses by name must stay refused for as long as anything of its kind can be granted. Containment is of rule in rule: a range
 * that two earlier rules cover only together is refused too.
 */
export function findBrokerLoosenings(profile: ResolvedProfile): readonly BrokerLoosening[] {
  return profile.stages.slice(1).flatMap((stage, index) => {
    const earlier = profile.stages[index];
    return earlier === undefined ? [] : brokerRequestKinds.flatMap((request) => compare(request, earlier, stage));
  });
}

function compare(request: BrokerRequestKind, earlier: ResolvedStage, stage: ResolvedStage): readonly BrokerLoosening[] {
  const before = split(earlier, request);
  const after = split(stage, request);
  if (after.grants.length + after.mayGrant.length === 0) return [];
  const within = (wider: readonly BrokerRule[], rule: BrokerRule): boolean =>
    wider.some((candidate) => targetContains(request, candidate.target, rule.target));
  const widened = after.grants
    .filter((grant) => !within(before.grants, grant))
    .map((grant) => ({
      ...grant.source,
      code: 'broker-loosens' as const,
      message: `stage ${stage.name} grants ${request} ${grant.target}, and no ${request} rule of stage ${earlier.name} covers it`,
    }));
  const raised = after.mayGrant
    .filter((rule) => !within([...before.grants, ...before.mayGrant], rule))
    .map((rule) => ({
      ...rule.source,
      code: 'broker-loosens' as const,
      message: `stage ${stage.name} lets ${request} ${rule.target} be granted, and no ${request} rule of stage ${earlier.name} covers it`,
    }));
  const forgotten = before.refusals
    .filter((refusal) => !within(after.refusals, refusal))
    .map((refusal) => ({
      ...refusal.source,
      code: 'broker-loosens' as const,
      message: `stage ${earlier.name} refuses ${request} ${refusal.target}, and stage ${stage.name} no longer does`,
    }));
  return [...widened, ...raised, ...forgotten];
}

interface Rules {
  readonly grants: readonly BrokerRule[];
  readonly mayGrant: readonly BrokerRule[];
  readonly refusals: readonly BrokerRule[];
}

function split(stage: ResolvedStage, request: BrokerRequestKind): Rules {
  const rules = stage.broker.filter((rule) => rule.request === request);
  const granting = rules.filter(({ refuseErrno }) => refuseErrno === undefined);
  return {
    grants: granting.filter(({ mayGrant }) => mayGrant !== true),
    mayGrant: granting.filter(({ mayGrant }) => mayGrant === true),
    refusals: rules.filter(({ refuseErrno }) => refuseErrno !== undefined),
  };
}
