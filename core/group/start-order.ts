// SPDX-License-Identifier: Apache-2.0
import type { LinkSpec, MemberSpec } from './spec.ts';

/** Servers before their clients, else as written. `cycle`: members of which none can be first; empty when there is none. */
export function startOrder(
  members: readonly MemberSpec[],
  links: readonly LinkSpec[],
): { readonly order: readonly MemberSpec[]; readonly cycle: readonly string[] } {
  const order: MemberSpec[] = [];
  let left = members;
  while (left.length > 0) {
    const names = new Set(left.map(({ name }) => name));
    const waits = ({ name }: MemberSpec): boolean =>
      links.some(({ client, server }) => client.member === name && names.has(server.member));
    const ready = left.filter((member) => !waits(member));
    if (ready.length === 0) return { order, cycle: cycleAmong(names, links) };
    order.push(...ready);
    left = left.filter((member) => !ready.includes(member));
  }
  return { order, cycle: [] };
}

/** Follows links from client to server until a member comes again. */
function cycleAmong(names: ReadonlySet<string>, links: readonly LinkSpec[]): readonly string[] {
  const path: string[] = [];
  let next = [...names][0];
  while (next !== undefined && !path.includes(next)) {
    path.push(next);
    const from: string = next;
    next = links.find(({ client, server }) => client.member === from && names.has(server.member))?.server.member;
  }
  return next === undefined ? path : [...path.slice(path.indexOf(next)), next];
}
