// SPDX-License-Identifier: Apache-2.0
import { brokerRequestKinds } from './actions.ts';
import { parseAddressRule, parsePathRule, pathRuleContains, ruleContains } from './address/index.ts';
import type { BrokerRequestKind, BrokerRule, ResolvedProfile, ResolvedStage, Source } from './types.ts';

/** A broker rule by which a stage grants more than the one before it. */
export interface BrokerLoosening extends Source {
  readonly code: 'broker-loosens';
  readonly message: string;
}

/**
 * Every grant of a later stage must lie within one grant of the stage before, and what that stage refuses by name must stay refused for as long
 * as anything of its kind is granted. Containment is of rule in rule: a range that two earlier rules cover only together is refused too.
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
  if (after.grants.length === 0) return [];
  const within = (wider: readonly BrokerRule[], rule: BrokerRule): boolean =>
    wider.some((candidate) => candidate.target === rule.target || contains(request, candidate.target, rule.target));
  const widened = after.grants
    .filter((grant) => !within(before.grants, grant))
    .map((grant) => ({
      ...grant.source,
      code: 'broker-loosens' as const,
      message: `stage ${stage.name} grants ${request} ${grant.target}, and no ${request} rule of stage ${earlier.name} covers it`,
    }));
  const forgotten = before.refusals
    .filter((refusal) => !within(after.refusals, refusal))
    .map((refusal) => ({
      ...refusal.source,
      code: 'broker-loosens' as const,
      message: `stage ${earlier.name} refuses ${request} ${refusal.target}, and stage ${stage.name} no longer does`,
    }));
  return [...widened, ...forgotten];
}

function split(
  stage: ResolvedStage,
  request: BrokerRequestKind,
): { readonly grants: readonly BrokerRule[]; readonly refusals: readonly BrokerRule[] } {
  const rules = stage.broker.filter((rule) => rule.request === request);
  return {
    grants: rules.filter(({ refuseErrno }) => refuseErrno === undefined),
    refusals: rules.filter(({ refuseErrno }) => refuseErrno !== undefined),
  };
}

function contains(request: BrokerRequestKind, wider: string, narrower: string): boolean {
  switch (request) {
    case 'connect':
    case 'bind':
      return ruleContains(parseAddressRule(wider), parseAddressRule(narrower));
    case 'open':
      return pathRuleContains(parsePathRule(wider), parsePathRule(narrower));
    case 'tap':
      return wider === narrower;
  }
}
