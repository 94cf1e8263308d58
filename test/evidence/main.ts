// SPDX-License-Identifier: Apache-2.0
// `node dist/test/evidence/main.js SCENARIO [FEATURE,...]`: runs one of the scenarios on the shipped profile and prints which calls the threads of each role made
// in stage `running`, by strace, and which of them the profile would refuse. With TRACED=no it only runs, under the roles' filters.
import { readFileSync } from 'node:fs';
import { parse } from 'yaml';
import { inOwnNetwork } from '../../core/demo/own-network.ts';
import { evaluate, letsThrough } from '../../core/policy/index.ts';
import { loadProfile } from '../../core/profile-files.ts';
import { auditArchOf, syscallNumber } from '../../core/tables/index.ts';
import { packagePath } from '../../native/package-path.ts';
import { Rig } from './rig.ts';
import { scenarios } from './scenarios.ts';

if ((await inOwnNetwork()) === undefined) {
  const [name = 'guest', feature] = process.argv.slice(2);
  const profile = parse(readFileSync(packagePath('profiles/qemu.yaml'), 'utf8'));
  delete profile.$schema;
  if (process.env['TRACED'] !== 'no') profile.stages.running.roles = { vcpu: { why: 'traced' }, io: { why: 'traced' } };
  const t0 = Date.now();
  await using rig = new Rig({
    profile,
    features: feature ? feature.split(',') : [],
    until: 'running',
    traced: process.env['TRACED'] !== 'no',
  });
  try {
    await scenarios[name]?.run(rig, 60_000);
  } finally {
    console.log('ran', Date.now() - t0);
    const calls = await rig.calls();
    const byRole: Record<string, Record<string, number>> = {};
    for (const { role, name: call } of calls) {
      const of = byRole[role] ?? {};
      byRole[role] = of;
      of[call] = (of[call] ?? 0) + 1;
    }
    for (const [role, counts] of Object.entries(byRole))
      console.log(
        role,
        Object.keys(counts).length,
        Object.entries(counts)
          .sort((a, b) => b[1] - a[1])
          .map(([n, c]) => `${n}:${c}`)
          .join(' '),
      );
    judge(calls);
  }
}

function judge(
  calls: readonly { readonly role: string; readonly name: string; readonly args: readonly (bigint | undefined)[] }[],
): void {
  const stage = loadProfile('qemu').stages[1];
  if (stage === undefined) return;
  const refusedCalls: Record<string, number> = {};
  for (const { role, name: call, args } of calls) {
    const policy = stage.roles[role] ?? stage.filter;
    const padded = [...args, 0n, 0n, 0n, 0n, 0n, 0n].slice(0, 6).map((a) => BigInt.asUintN(64, a ?? 0n));
    const { action } = evaluate(policy, {
      nr: syscallNumber('x86_64', call) ?? -1,
      auditArch: auditArchOf('x86_64'),
      args: padded as never,
    });
    if (letsThrough(action)) continue;
    const k = `${role} ${call} ${action.kind}`;
    refusedCalls[k] = (refusedCalls[k] ?? 0) + 1;
  }
  console.log('refused', refusedCalls);
}
