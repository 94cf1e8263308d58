// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync } from 'node:fs';
import { packagePath } from '../../native/package-path.ts';

/** `programs/NAME.cc` with the injection engine as the addon has it. Its path. */
export function buildEngineProgram(name: string): string {
  const built = packagePath(`build/test/${name}`);
  const objects = packagePath('build/Release/obj.target/ratchet/native/sys');
  mkdirSync(packagePath('build/test'), { recursive: true });
  const engine = readdirSync(packagePath('native/sys'))
    .filter((file) => /^(tighten.*|processes|proc_files)\.cc$/.test(file))
    .map((file) => `${objects}/${file.replace(/cc$/, 'o')}`);
  const flags = ['-std=c++20', '-D_GNU_SOURCE', '-pthread', `-I${packagePath('native')}`, '-o', built];
  execFileSync('g++', [...flags, packagePath(`test/native/programs/${name}.cc`), ...engine], { stdio: 'inherit' });
  return built;
}
