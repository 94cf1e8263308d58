// SPDX-License-Identifier: Apache-2.0
import { chmodSync, copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';

const copies = new Map<string, string>();

/** A copy of a program that any user may execute: the checkout may lie in a folder that only its owner can enter. */
export function everyones(program: string): string {
  const known = copies.get(program);
  if (known !== undefined) return known;
  const folder = mkdtempSync(join(tmpdir(), 'ratchet-test-'));
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
  chmodSync(folder, 0o755);
  const copy = join(folder, basename(program));
  copyFileSync(program, copy);
  chmodSync(copy, 0o755);
  copies.set(program, copy);
  return copy;
}
