// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import {
  closeSync,
  constants,
  createReadStream,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { replaceFile } from '../../core/cli/replace-file.ts';
import { scratch } from '../brokers/rig.ts';

test('who has the old file open reads the old content to its end, and nothing else is left', async () => {
  using folder = scratch();
  const file = join(folder.path, 'report.json');
  await replaceFile(file, 'first');
  const reader = openSync(file, 'r');
  await replaceFile(file, 'second');
  expect(readFileSync(reader, 'utf8')).toBe('first');
  closeSync(reader);
  expect(readFileSync(file, 'utf8')).toBe('second');
  expect(readdirSync(folder.path)).toEqual(['report.json']);
});

test('a link stays a link', async () => {
  using folder = scratch();
  const [file, link] = [join(folder.path, 'file'), join(folder.path, 'link')];
  writeFileSync(file, 'first');
  symlinkSync(file, link);
  await replaceFile(link, 'second');
  expect(readlinkSync(link)).toBe(file);
  expect(readFileSync(file, 'utf8')).toBe('second');
});

test('what is no regular file is written to', async () => {
  await replaceFile('/dev/null', 'content');
  expect(readdirSync('/dev').filter((name) => name.startsWith('null'))).toEqual(['null']);
});

test('a pipe has to have a reader, and gets all of what is longer than it holds', async () => {
  using folder = scratch();
  const pipe = join(folder.path, 'pipe');
  execFileSync('mkfifo', [pipe]);
  await expect(replaceFile(pipe, 'content')).rejects.toMatchObject({ code: 'ENXIO' });
  const content = 'report '.repeat(30_000);
  const reader = createReadStream(pipe, 'utf8');
  let heard = '';
  reader.on('data', (part) => {
    heard += part;
  });
  const opened = new Promise((resolve) => reader.once('open', resolve));
  // Its open waits for a writer, as ours for a reader would.
  const held = openSync(pipe, constants.O_RDWR);
  await opened;
  await replaceFile(pipe, content);
  closeSync(held);
  await new Promise<void>((resolve) => reader.once('close', () => resolve()));
  expect(heard).toBe(content);
});

test('a pipe that is read no more is given up', async () => {
  using folder = scratch();
  const pipe = join(folder.path, 'pipe');
  execFileSync('mkfifo', [pipe]);
  const reader = openSync(pipe, constants.O_RDWR);
  await expect(replaceFile(pipe, 'report '.repeat(30_000))).rejects.toMatchObject({ code: 'EAGAIN' });
  closeSync(reader);
});
