// SPDX-License-Identifier: Apache-2.0
// The launcher is told of every refusal, but for those that a profile calls quiet and for what a role refuses of the calls that are never notified for a role's
// sake. The second must be said as well: `untold` names them, and whoever does not is told where.
import { RatchetError } from '../errors.ts';
import { formatSource } from './problem.ts';
import { untoldRefusals } from './supervise.ts';
import type { FilterPolicy, ResolvedProfile, Source, SyscallRules } from './types.ts';

export interface Untold extends Source {
  readonly code: 'untold';
  readonly message: string;
}

/** Where a role was written, and what it says of itself. */
export interface RoleText {
  readonly source: Source;
  /** Where a call stands in `remove`. */
  readonly removed: ReadonlyMap<string, Source>;
  readonly untold: ReadonlySet<string>;
}

/** Beside the policies, which are what the programs are made of and are sent to the broker: nothing of this matters there. */
const texts = new WeakMap<FilterPolicy, RoleText>();

export function rememberRole(policy: FilterPolicy, text: RoleText): void {
  texts.set(policy, text);
}

/** What roles refuse and nobody would be told of, unless they say so. Under `vmm: none` nobody is told of anything: such a process confines itself. */
export function findUntold(profile: ResolvedProfile): readonly Untold[] {
  if (profile.vmm === 'none') return [];
  return untoldRefusals(profile).flatMap(({ stage, role, policy, call }) => {
    const text = texts.get(policy);
    if (text?.untold.has(call.name)) return [];
    const { file, line, column } = placeOf(call, text) ?? { file: profile.file, line: 1, column: 1 };
    const message =
      `role ${role} of stage ${stage} refuses ${call.name}, and nobody would be told: that call is never notified for a role's sake. ` +
      `Say so by "untold: [${call.name}]" in the role, or refuse it by a rule with "quiet: true", or do not refuse it`;
    return [{ file, line, column, code: 'untold', message }];
  });
}

/** @throws RatchetError PROFILE_INVALID. */
export function assertTold(profile: ResolvedProfile): void {
  const [first] = findUntold(profile);
  if (first !== undefined) throw new RatchetError('PROFILE_INVALID', `${formatSource(first)}: ${first.message}`);
}

function placeOf({ name, rules, otherwiseRule }: SyscallRules, text: RoleText | undefined): Source | undefined {
  const isAloud = ({ action }: { readonly action: SyscallRules['otherwise'] }): boolean =>
    action.kind === 'errno' && !action.quiet;
  return rules.find(isAloud)?.source ?? otherwiseRule?.source ?? text?.removed.get(name) ?? text?.source;
}
