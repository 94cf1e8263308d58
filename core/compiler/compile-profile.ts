// SPDX-License-Identifier: Apache-2.0
// A profile to its programs, each proven. The programs of later stages and of roles are the shorter of the whole policy and of what it changes.

import { RatchetError } from '../errors.ts';
import { supervise } from '../policy/supervise.ts';
import type { FilterPolicy, ResolvedProfile } from '../policy/types.ts';
import { encodeAction } from '../simulator/action.ts';
import { maxInstructions } from '../simulator/instruction.ts';
import { type Diagram, Diagrams } from '../verifier/diagram.ts';
import { findUnenforced } from '../verifier/enforcement.ts';
import { numberRanges, policyDiagram } from '../verifier/policy-diagram.ts';
import { proveTightening } from '../verifier/tightening.ts';
import { compareDiagrams, meaningOf, unproven } from '../verifier/verify.ts';
import { chainWeights } from './chain-weights.ts';
import { type CompiledFilter, compileTarget } from './compile-filter.ts';
import { chainOf, deltaTarget } from './delta.ts';
import { expectedInstructions } from './expected-cost.ts';
import { roleMarks } from './role-marks.ts';
import type { CompileOptions } from './target.ts';

/** A program, and whether it stands alone or leans on the programs installed before it. */
export interface CompiledProgram extends CompiledFilter {
  readonly shape: 'full' | 'delta';
}

export interface CompiledRole extends CompiledProgram {
  /** How many marks are installed before it: see roleMarks(). */
  readonly marks: number;
}

export interface CompiledStage extends CompiledProgram {
  readonly name: string;
  readonly epoch: number;
  /** Installed in a role's threads on top of the programs of this stage and all before it. */
  readonly roles: Readonly<Record<string, CompiledRole>>;
}

export interface CompiledProfile {
  readonly name: string;
  readonly stages: readonly CompiledStage[];
}

/** A delta of more instructions than this is compared with the whole policy. */
const longDelta = 256;

/** MAX_INSNS_PER_PATH: instructions of a whole chain, where each filter counts four more. */
const maxChainInstructions = 32768;

/**
 * The supervised programs of all stages and roles. Each is proven to give, with the programs before it, exactly the supervised policy, and the
 * chain to give the profile's own. Throws PROFILE_INVALID for a profile that loosens, FILTER_TOO_LARGE
 * past the kernel's limits, FILTER_UNPROVEN when a proof fails.
 */
export function compileProfile(profile: ResolvedProfile, options: CompileOptions = {}): CompiledProfile {
  const diagrams = new Diagrams();
  assertTightens(diagrams, profile);
  const supervised = supervise(profile);
  const inChain = chainWeights(diagrams, supervised.stages, options);
  const marksLeft = new Map(roleMarks(profile));
  let installed: Diagram | undefined;
  let chainLength = 0;

  const stages = supervised.stages.map((stage, index): CompiledStage => {
    const given = profile.stages[index] as ResolvedProfile['stages'][number];
    const own = compileProven(diagrams, stage.filter, installed, inChain.ofStage(stage.name), `stage ${stage.name}`);
    installed = own.chain;
    chainLength += own.instructions + 4;
    assertEnforced(diagrams, own.chain, given.filter, `stage ${stage.name}`);
    const roles = Object.entries(stage.roles).map(([name, policy]): [string, CompiledRole] => {
      const what = `role ${name} of stage ${stage.name}`;
      const role = compileProven(diagrams, policy, own.chain, inChain.ofRole(stage.name, name), what);
      assertEnforced(diagrams, role.chain, given.roles[name] as FilterPolicy, what);
      const marks = marksLeft.get(name) ?? 0;
      marksLeft.delete(name);
      assertChainFits(chainLength + role.instructions + marks * 5, what);
      return [name, { program: role.program, instructions: role.instructions, shape: role.shape, marks }];
    });
    assertChainFits(chainLength, `stage ${stage.name}`);
    const { program, instructions, shape } = own;
    return { name: stage.name, epoch: stage.epoch, program, instructions, shape, roles: Object.fromEntries(roles) };
  });
  return { name: profile.name, stages };
}

function compileProven(
  diagrams: Diagrams,
  policy: FilterPolicy,
  installed: Diagram | undefined,
  options: CompileOptions,
  what: string,
): CompiledProgram & { readonly chain: Diagram } {
  const wanted = policyDiagram(diagrams, policy);
  const compiled = shortest(diagrams, policy, wanted, installed, options);
  const actual = meaningOf(diagrams, compiled.program);
  const chain = installed === undefined ? actual : chainOf(diagrams, actual, installed);
  const goal = installed === undefined ? wanted : chainOf(diagrams, wanted, installed);
  const counterExample = compareDiagrams(diagrams, goal, chain);
  if (counterExample !== undefined) throw unproven(`the filter of ${what}`, counterExample, policy.arch);
  return { ...compiled, chain };
}

function shortest(
  diagrams: Diagrams,
  policy: FilterPolicy,
  wanted: Diagram,
  installed: Diagram | undefined,
  options: CompileOptions,
): CompiledProgram {
  const whole = (): CompiledProgram => {
    const ranges = numberRanges(diagrams, policy);
    return {
      ...compileTarget(diagrams, { arch: policy.arch, ranges, foreign: encodeAction(policy.foreign) }, options),
      shape: 'full',
    };
  };
  const target = installed === undefined ? undefined : deltaTarget(diagrams, policy.arch, wanted, installed);
  if (target === undefined) return whole();
  const delta: CompiledProgram = { ...compileTarget(diagrams, target, options), shape: 'delta' };
  // Freedom can only shorten what is asked for, but the searches are separate: where a delta is long, both are tried.
  if (delta.instructions < longDelta) return delta;
  const full = whole();
  const { counts } = options;
  if (counts === undefined) return full.instructions < delta.instructions ? full : delta;
  const cost = ({ program }: CompiledFilter): number =>
    expectedInstructions(program, policy.arch, counts, (nr) => options.uncached?.has(nr) === true);
  return cost(full) < cost(delta) ? full : delta;
}

function assertTightens(diagrams: Diagrams, profile: ResolvedProfile): void {
  const [problem, ...others] = proveTightening(profile, diagrams);
  if (problem === undefined) return;
  const more = others.length === 0 ? '' : ` (and ${others.length} more)`;
  throw new RatchetError(
    'PROFILE_INVALID',
    `${problem.file}:${problem.line}:${problem.column}: ${problem.message}${more}`,
    {
      next: 'a stage may permit no more than the one before it, and a role no more than its stage',
    },
  );
}

function assertEnforced(diagrams: Diagrams, chain: Diagram, policy: FilterPolicy, what: string): void {
  const counterExample = findUnenforced(diagrams, chain, policy);
  if (counterExample !== undefined) throw unproven(`the chain of filters of ${what}`, counterExample, policy.arch);
}

function assertChainFits(instructions: number, what: string): void {
  if (instructions <= maxChainInstructions) return;
  throw new RatchetError(
    'FILTER_TOO_LARGE',
    `the filters up to ${what} count ${instructions} instructions, and the kernel takes ${maxChainInstructions} (of which ${maxInstructions} in one)`,
    {
      next: 'use fewer stages or shorter sets of values',
    },
  );
}
