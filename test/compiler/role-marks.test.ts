// SPDX-License-Identifier: Apache-2.0
// While a stage is entered a thread may have its filters of before or of after. Whatever it has, the number must not be that of another role's thread.
import { expect, test } from 'vitest';
import { roleMarks } from '../../core/compiler/role-marks.ts';
import { parseProfile } from '../../core/policy/index.ts';

const stage = (roles: readonly string[]): string =>
  `{ syscalls: [{ allow: [read, write], why: w }], roles: { ${roles.map((role) => `${role}: { why: w, remove: [write] }`).join(', ')} } }`;

test.each([
  { name: 'one role', stages: [[], ['io'], []] },
  { name: 'two roles, given together', stages: [[], ['io', 'vcpu'], ['io', 'vcpu']] },
  { name: 'three roles, one given later', stages: [[], ['a', 'b'], ['a'], ['a', 'b', 'c'], ['b']] },
])('$name', ({ stages }) => {
  const text = `version: 1
name: roles
vmm: qemu
stages:
${stages.map((roles, index) => `  s${index}: ${stage(roles)}`).join('\n')}
`;
  const profile = parseProfile(text, { file: 'r.yaml', arch: 'x86_64', include: () => ({ text: '', file: '' }) });
  const marks = roleMarks(profile);
  /** Undefined until the role is given. */
  const filters = (role: string | undefined, entered: number): number | undefined => {
    if (role === undefined) return entered;
    const own = profile.stages.slice(0, entered).filter(({ roles }) => roles[role] !== undefined).length;
    return own === 0 ? undefined : entered + own + (marks.get(role) ?? 0);
  };
  for (let entered = 1; entered < stages.length; entered++) {
    const ranges = [undefined, ...marks.keys()].flatMap((role) => {
      const counts = [filters(role, entered), filters(role, entered + 1)].filter((count) => count !== undefined);
      return counts.length === 0 ? [] : [[Math.min(...counts), Math.max(...counts)] as const];
    });
    for (const [index, [least]] of ranges.entries())
      if (index > 0) expect(least).toBeGreaterThan(ranges[index - 1]?.[1] ?? 0);
  }
});
