// SPDX-License-Identifier: Apache-2.0
// Makes the command a few files instead of three hundred: Node spends half a millisecond on finding and linking each, and a command that reads a
// profile in 200 ms should not take as long to be loaded. Replaces what the compiler wrote for core/cli/main.ts. The library and the broker stay as the
// compiler leaves them. Plain JavaScript on purpose: it is a step of the build.

import { chmodSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { rolldown } from 'rolldown';

const root = fileURLToPath(new URL('../..', import.meta.url));
const folder = join(root, 'dist', 'core', 'cli');
const chunks = join(folder, 'chunks');

rmSync(chunks, { recursive: true, force: true });
const bundle = await rolldown({
  cwd: root,
  input: 'core/cli/main.ts',
  platform: 'node',
  // Node 20 has no `using`.
  transform: { target: 'node20.17' },
  // Only what runs a VMM loads these, which takes far longer than loading them.
  external: [/^node:/, /^msgpackr/, 'pino'],
});
const { output } = await bundle.write({
  dir: folder,
  format: 'esm',
  sourcemap: true,
  entryFileNames: '[name].js',
  chunkFileNames: 'chunks/[name].js',
});
await bundle.close();
chmodSync(join(folder, 'main.js'), 0o755);
writeFileSync(join(chunks, 'LICENSES'), licences(output.flatMap((file) => file.moduleIds ?? [])));

/** Of the packages whose code is in the bundle. */
function licences(modules) {
  const packages = new Set(
    modules.flatMap((module) => /\/node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(module)?.[1] ?? []),
  );
  return [...packages]
    .sort()
    .map((name) => {
      const file = join(root, 'node_modules', name, 'LICENSE');
      if (!existsSync(file)) throw new Error(`the package ${name} has no LICENSE to put beside the bundle`);
      return `${name}\n\n${readFileSync(file, 'utf8')}`;
    })
    .join('\n----\n\n');
}
