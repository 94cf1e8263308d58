// SPDX-License-Identifier: Apache-2.0
import { summarizeFilter } from '../policy/summary.ts';
import type { FilterPolicy, ResolvedProfile } from '../policy/types.ts';

/**
 * How many programs that allow everything a thread gets with the first program of its role, by role. Nothing but the number of a thread's filters can be read while
 * it waits for the supervisor; a thread has those of its maker, and can only add to them. With these marks the number tells whether a thread is in a role, and in
 * which at most, also while a stage is being entered, which adds one: the next role begins where the one before cannot come. The role that permits most comes first, as it has the
 * threads that make others.
 */
export function roleMarks({ stages }: ResolvedProfile): ReadonlyMap<string, number> {
  const first = new Map<string, FilterPolicy>();
  const programs = new Map<string, number>();
  for (const { roles } of stages)
    for (const [role, policy] of Object.entries(roles)) {
      if (!first.has(role)) first.set(role, policy);
      programs.set(role, (programs.get(role) ?? 0) + 1);
    }
  const width = new Map([...first].map(([role, policy]) => [role, summarizeFilter(policy).names.length]));
  const ranked = [...first.keys()].sort((a, b) => (width.get(b) ?? 0) - (width.get(a) ?? 0) || (a < b ? -1 : 1));
  let marks = 1;
  return new Map(
    ranked.map((role) => {
      const own = marks;
      marks += (programs.get(role) ?? 0) + 1;
      return [role, own];
    }),
  );
}
