// SPDX-License-Identifier: Apache-2.0
import { readFileSync, writeFileSync } from 'node:fs';
import { parse } from 'yaml';
import { inOwnNetwork } from '../../core/demo/own-network.ts';
import { packagePath } from '../../native/package-path.ts';
import { Rig } from './rig.ts';
import { scenarios } from './scenarios.ts';

if ((await inOwnNetwork()) === undefined) {
  const [name = 'guest', feature] = process.argv.slice(2);
  const profile = parse(readFileSync(packagePath('profiles/qemu.yaml'), 'utf8'));
  delete profile.$schema;
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
    writeFileSync(
      `/tmp/profile-calls-${name}.json`,
      JSON.stringify(calls.map(({ role, name: n, args }) => [role, n, ...args.map(String)])),
    );
  }
}
