// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Authority } from '../../brokers/authority.ts';
import { maxRuntimeGrants, RuntimeGrants } from '../../brokers/runtime-grants.ts';
import { Stages } from '../../brokers/stages.ts';
import { parseAddress } from '../../core/policy/address/index.ts';
import { profileOf } from './policy.ts';

const wish = { request: 'connect', address: parseAddress('tcp:127.0.0.1:1') } as const;
const terms = { request: 'connect', target: 'tcp:127.0.0.1:1', until: undefined } as const;

test('a grant holds to the last millisecond of its time and not longer, and neither does what was begun under it', () => {
  let nowMs = 1000;
  const grants = new RuntimeGrants(
    () => undefined,
    () => nowMs,
  );
  const authority = new Authority(new Stages(profileOf({ start: { rules: [] } })), grants);
  grants.add({ ...terms, uses: undefined, forMs: 500, throughEpoch: 0 });
  nowMs = 1499;
  const permit = authority.permit(wish);
  expect(permit.granted && permit.holds()).toBe(true);
  nowMs = 1500;
  expect(authority.judge(wish).granted).toBe(false);
  expect(permit.granted && permit.holds()).toBe(false);
  expect(grants.list()).toEqual([]);
});

test('a used-up grant that makes room for others takes what was begun under it along', () => {
  const grants = new RuntimeGrants(() => undefined);
  const authority = new Authority(new Stages(profileOf({ start: { rules: [] }, late: { rules: [] } })), grants);
  grants.add({ ...terms, uses: 1, forMs: undefined, throughEpoch: 0 });
  const permit = authority.permit(wish);
  expect(grants.full).toBe(false);
  expect(permit.granted && permit.holds()).toBe(true);
  for (let count = 1; count < maxRuntimeGrants; count++)
    grants.add({ ...terms, target: 'tcp:127.0.0.1:2', uses: undefined, forMs: undefined, throughEpoch: 0 });
  expect(grants.full).toBe(false);
  expect(permit.granted && permit.holds()).toBe(false);
});

test('whatever is granted, used, revoked and left in whatever order, no grant permits more than its uses, nor in a later stage than its own', () => {
  const step = fc.oneof(
    fc.record({
      do: fc.constant('add' as const),
      uses: fc.option(fc.integer({ min: 1, max: 3 }), { nil: undefined }),
      through: fc.integer({ min: 0, max: 2 }),
    }),
    fc.record({ do: fc.constant('use' as const) }),
    fc.record({ do: fc.constant('revoke' as const), id: fc.integer({ min: 1, max: 5 }) }),
    fc.record({ do: fc.constant('stage' as const) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const stages = new Stages(profileOf({ a: { rules: [] }, b: { rules: [] }, c: { rules: [] } }));
      const grants = new RuntimeGrants(() => undefined);
      const authority = new Authority(stages, grants);
      const model = new Map<number, { left: number; through: number }>();
      for (const each of steps) {
        if (each.do === 'add') {
          const id = grants.add({ ...terms, uses: each.uses, forMs: undefined, throughEpoch: each.through });
          model.set(id, { left: each.uses ?? Number.POSITIVE_INFINITY, through: each.through });
          grants.enterEpoch(stages.epoch);
        }
        if (each.do === 'revoke') {
          grants.revoke(each.id);
          model.delete(each.id);
        }
        if (each.do === 'stage' && stages.move(stages.epoch + 1)) grants.enterEpoch(stages.epoch);
        for (const [id, { left, through }] of model) if (left === 0 || through < stages.epoch) model.delete(id);
        if (each.do !== 'use') continue;
        const [first] = model.values();
        expect(authority.permit(wish).granted).toBe(first !== undefined);
        if (first !== undefined) first.left -= 1;
      }
    }),
    { numRuns: 500 },
  );
});
