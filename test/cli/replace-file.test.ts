// SPDX-License-Identifier: Apache-2.0
import { closeSync, openSync, readdirSync, readFileSync, readlinkSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { replaceFile } from '../../core/cli/replace-file.ts';
import { scratch } from '../brokers/rig.ts';

test('who has the old file open reads the old content to its end, and nothing else is left', () => {
  using folder = scratch();
  const file = join(folder.path, 'report.json');
  replaceFile(file, 'first');
  const reader = openSync(file, 'r');
  replaceFile(file, 'second');
  expect(readFileSync(reader, 'utf8')).toBe('first');
  closeSync(reader);
  expect(readFileSync(file, 'utf8')).toBe('second');
  expect(readdirSync(folder.path)).toEqual(['report.json']);
});

test('a link stays a link', () => {
  using folder = scratch();
  const [file, link] = [join(folder.path, 'file'), join(folder.path, 'link')];
  writeFileSync(file, 'first');
  symlinkSync(file, link);
  replaceFile(link, 'second');
  expect(readlinkSync(link)).toBe(file);
  expect(readFileSync(file, 'utf8')).toBe('second');
});

test('what is no regular file is written to', () => {
  expect(() => replaceFile('/dev/null', 'content')).not.toThrow();
  expect(readdirSync('/dev').filter((name) => name.startsWith('null'))).toEqual(['null']);
});
