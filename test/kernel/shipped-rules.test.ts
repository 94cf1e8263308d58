// SPDX-License-Identifier: Apache-2.0
// Every rule of every shipped profile, on the running kernel: with arguments that just meet it and arguments that just miss it, and every
// number there is. The kernel, the simulator and evaluate() must say the same, of each program alone and of the programs as they are installed.

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { compileFilter, compileProfile } from '../../core/compiler/index.ts';
import { evaluate, matches } from '../../core/policy/index.ts';
import { supervise } from '../../core/policy/supervise.ts';
import type { Arch, FilterPolicy, Rule, SyscallCall } from '../../core/policy/types.ts';
import { countsOption } from '../../core/profile-counts.ts';
import { hostArch, loadFeatures, loadProfile, shippedProfiles } from '../../core/profile-files.ts';
import { actionOnly, auditArch, combineActions, encodeAction, returnValue, run } from '../../core/simulator/index.ts';
import { type Args, interestingValues, probes } from '../policy/probes.ts';
import { KernelProbe, seenByFilters } from './kernel-probe.ts';

const arch: Arch = hostArch();
const none: Args = [0n, 0n, 0n, 0n, 0n, 0n];
/** What a chain of the shipped profiles answers with. */
const everyAction = [
  returnValue.allow,
  returnValue.userNotification,
  returnValue.errno,
  returnValue.killProcess,
].sort();

let probe: KernelProbe;
beforeAll(() => {
  probe = new KernelProbe();
});
afterAll(() => probe[Symbol.dispose]());

const variants = shippedProfiles().flatMap((name) => {
  const features = loadFeatures(name, { arch }).map((feature) => feature.name);
  return features.length === 0
    ? [{ name, features }]
    : [
        { name, features: [] },
        { name, features },
      ];
});

describe.each(variants)('the profile $name with the features $features, on the kernel,', ({ name, features }) => {
  const profile = loadProfile(name, { arch, features });
  const supervised = supervise(profile).stages;
  const filters = profile.stages.flatMap(({ filter, roles }) => [filter, ...Object.values(roles)]);
  const calls = callsOf(filters);

  test.each(profile.stages)('decides every rule and every number as stage $name says', ({ filter, roles, epoch }) => {
    const own = [filter, ...Object.values(roles)];
    const asInstalled = supervised[epoch];
    expect(asInstalled).toBeDefined();
    const all = asInstalled === undefined ? own : [...own, asInstalled.filter, ...Object.values(asInstalled.roles)];
    for (const policy of all) expectAgreement(policy, calls);
  });

  test('decides as the stages say when their programs stand on top of each other', () => {
    const compiled = compileProfile(profile, countsOption(profile));
    const chains = compiled.stages.flatMap((stage, epoch) => {
      const below = compiled.stages.slice(0, epoch + 1).map(({ program }) => program);
      const policies = supervised.slice(0, epoch + 1).map(({ filter }) => filter);
      const withRoles = Object.entries(stage.roles).map(([role, { program }]) => ({
        programs: [...below, program],
        policies: [...policies, supervised[epoch]?.roles[role] as FilterPolicy],
      }));
      return [{ programs: below, policies }, ...withRoles];
    });
    expect(chains.length).toBeGreaterThanOrEqual(profile.stages.length);
    for (const { programs, policies } of chains) {
      const answers = probe.askChain(programs, calls, arch);
      // Else the stand-ins were not told apart.
      // Nobody supervises the broker itself.
      const notified = (action: number) => action === returnValue.userNotification;
      const possible = name === 'broker' ? everyAction.filter((action) => !notified(action)) : everyAction;
      expect([...new Set(answers.map(actionOnly))].sort()).toEqual(possible);
      const expected = calls.map((call) => decideTogether(policies.map((policy) => answerOf(policy, call))));
      const simulated = calls.map((call) => decideTogether(programs.map((program) => run(program, call).rawAction)));
      expect(disagreements(calls, { kernel: answers, simulator: simulated, policy: expected })).toEqual([]);
    }
  });
});

function expectAgreement(policy: FilterPolicy, calls: readonly SyscallCall[]): void {
  const { program } = compileFilter(policy);
  const answers = probe.ask(program, calls);
  const simulated = calls.map((call) => run(program, call).rawAction);
  const expected = calls.map((call) => answerOf(policy, call));
  expect(disagreements(calls, { kernel: answers, simulator: simulated, policy: expected })).toEqual([]);
}

interface Answers {
  readonly kernel: readonly number[];
  readonly simulator: readonly number[];
  readonly policy: readonly number[];
}

function disagreements(calls: readonly SyscallCall[], { kernel, simulator, policy }: Answers): object[] {
  return calls.flatMap((call, index) => {
    const answers = { kernel: kernel[index], simulator: simulator[index], policy: policy[index] };
    return answers.kernel === answers.policy && answers.simulator === answers.policy ? [] : [{ call, ...answers }];
  });
}

function answerOf(policy: FilterPolicy, call: SyscallCall): number {
  return encodeAction(evaluate(policy, call).action);
}

/** Oldest first. */
function decideTogether(values: readonly number[]): number {
  return values.reduce((older, newer) => combineActions(newer, older));
}

/** For each rule of each filter, and for each number. */
function callsOf(filters: readonly FilterPolicy[]): SyscallCall[] {
  const lastNr = Math.max(...filters.map(({ lastKnownNr }) => lastKnownNr)) + 2;
  const numbers = Array.from({ length: lastNr + 1 }, (_, nr) => callOf(nr, none));
  const byRules = filters.flatMap(({ syscalls }) =>
    syscalls.flatMap(({ nr, name, rules }) => [
      ...[
        ...probes(
          rules.map(({ when }) => when),
          100,
        ),
      ].map((args) => callOf(nr, args)),
      ...rules.flatMap((rule) => edgeOf(rule, name).map((args) => callOf(nr, args))),
    ]),
  );
  const distinct = new Map([...numbers, ...byRules].map((call) => [[call.nr, ...call.args].join(), call]));
  return [...distinct.values()].filter(({ nr }) => seenByFilters(arch, nr));
}

function callOf(nr: number, args: Args): SyscallCall {
  return { nr, auditArch: auditArch[arch], args };
}

/** Arguments that meet the rule and, where it has a condition, arguments that miss it and differ from those in one register only. */
function edgeOf({ when, whenText }: Rule, name: string): Args[] {
  if (when.kind === 'always') return [none];
  const values = interestingValues([when]);
  for (const met of probes([when])) {
    if (!matches(when, met)) continue;
    for (const [register, candidates] of values.entries()) {
      const missed = candidates.map((value) => met.with(register, value) as unknown as Args);
      const nearest = missed.find((args) => !matches(when, args));
      if (nearest !== undefined) return [met, nearest];
    }
  }
  throw new Error(`no arguments just meet and just miss the rule for ${name}: ${whenText}`);
}
