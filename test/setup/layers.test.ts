// SPDX-License-Identifier: Apache-2.0
// The rooms of the tree import in one direction only. Lint checks it; this file checks that lint does, because a later override in
// biome.json silently replaces an earlier one.

import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

const forbidden: readonly (readonly [file: string, specifier: string])[] = [
  ['core/policy/a.ts', 'node:fs'],
  ['core/policy/b.ts', 'node:fs/promises'],
  ['core/policy/c.ts', 'fs'],
  ['core/policy/address/d.ts', '../../../native/index.ts'],
  ['core/policy/e.ts', '../../brokers/main.ts'],
  ['core/policy/f.ts', '../broker/protocol.ts'],
  ['core/compiler/g.ts', '../stages/enter.ts'],
  ['core/verifier/h.ts', '../launch/launch.ts'],
  ['core/simulator/i.ts', '../qemu/qmp.ts'],
  ['core/tables/j.ts', '../owned-fd.ts'],
  ['core/formats/import/j.ts', 'node:fs'],
  ['core/learn/j.ts', 'node:child_process'],
  ['core/errors.ts', 'node:os'],
  ['core/broker/protocol.ts', '../../native/index.ts'],
  ['core/launch/k.ts', '../../brokers/main.ts'],
  ['core/cli/l.ts', '../../test/setup/layers.test.ts'],
  ['brokers/m.ts', '../core/launch/launch.ts'],
  ['brokers/net/n.ts', '../../core/cli/main.ts'],
  ['brokers/o.ts', '../core/broker/client.ts'],
  ['native/p.ts', '../core/errors.ts'],
];

const permitted: readonly (readonly [file: string, specifier: string])[] = [
  ['core/policy/q.ts', '../errors.ts'],
  ['core/policy/r.ts', 'ipaddr.js'],
  ['core/policy/s.ts', './types.ts'],
  ['core/compiler/t.ts', '../policy/types.ts'],
  ['core/launch/u.ts', '../../native/index.ts'],
  ['core/launch/v.ts', 'node:fs'],
  ['core/broker/w.ts', './protocol.ts'],
  ['brokers/x.ts', '../core/policy/types.ts'],
  ['brokers/net/y.ts', '../../core/broker/protocol.ts'],
  ['brokers/z.ts', '../native/index.ts'],
];

describe('the rooms of the tree', () => {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), 'ratchet-layers-')));
  let refused: ReadonlySet<string>;

  beforeAll(() => {
    copyFileSync('biome.json', join(folder, 'biome.json'));
    for (const [file, specifier] of [...forbidden, ...permitted]) {
      mkdirSync(dirname(join(folder, file)), { recursive: true });
      writeFileSync(join(folder, file), `import { x } from '${specifier}';\n\nexport const y = x;\n`);
    }
    refused = filesWithErrors(folder);
  });

  afterAll(() => rmSync(folder, { recursive: true }));

  test.each(forbidden)('lint refuses that %s imports %s', (file) => {
    expect(refused).toContain(file);
  });

  test.each(permitted)('lint permits that %s imports %s', (file) => {
    expect(refused).not.toContain(file);
  });
});

function filesWithErrors(folder: string): ReadonlySet<string> {
  const biome = join(process.cwd(), 'node_modules', '.bin', 'biome');
  const rules = ['--only=style/noRestrictedImports', '--only=style/useNodejsImportProtocol'];
  const result = spawnSync(biome, ['lint', ...rules, '--max-diagnostics=none', '--reporter=github', '.'], {
    cwd: folder,
    encoding: 'utf8',
  });
  const errors = result.stdout.matchAll(/^::error .*?\bfile=([^,]+)/gm);
  return new Set([...errors].map((match) => relative(folder, match[1] ?? '')));
}
