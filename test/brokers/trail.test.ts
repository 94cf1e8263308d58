// SPDX-License-Identifier: Apache-2.0
// The trail of a broker: nothing of it is lost by rotation, and a full disk costs lines, counted, and nothing else.
import { execFileSync } from 'node:child_process';
import { readFileSync, renameSync, rmSync, statSync } from 'node:fs';
import { afterEach, expect, test, vi } from 'vitest';
import { TrailFile } from '../../core/launch/trail-file.ts';
import { OwnedFd } from '../../core/owned-fd.ts';
import { native } from '../../native/index.ts';
import { profileOf } from './policy.ts';
import { type ServedBroker, scratch, startBroker } from './rig.ts';

const closing: (() => void)[] = [];
afterEach(() => {
  for (const close of closing.splice(0)) close();
});

interface Line {
  readonly verdict: string;
  readonly request?: string;
  readonly target?: string;
  readonly errno: string | null;
  readonly rule: string;
  readonly args?: { readonly path: string };
}

const linesOf = (path: string): Line[] =>
  readFileSync(path, 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
const paths = (lines: readonly Line[]): string[] => lines.flatMap(({ args }) => args?.path ?? []);

test('a trail that is renamed goes on in a new file, and no line is missing', async () => {
  using folder = scratch();
  const path = `${folder.path}/trail`;
  await using broker = await startBroker(profileOf({ start: { rules: [] } }));
  const trail = TrailFile.open(path);
  closing.push(() => trail.close());
  const reopened = new Promise<OwnedFd>((resolve) => {
    trail.onReopened = resolve;
  });
  using first = new OwnedFd(native.openFile({ directoryFd: -100, path, flags: 0o2001, mode: 0, resolve: 0 }));
  await broker.client.log(first);
  await refuse(broker, '/one');
  renameSync(path, `${path}.1`);
  await refuse(broker, '/two');
  await broker.client.log(await reopened);
  await refuse(broker, '/three');
  expect(paths(linesOf(`${path}.1`))).toEqual(['/one', '/two']);
  expect(paths(linesOf(path))).toEqual(['/three']);
});

test('a line says who, what, the rule and the errno, of what was granted too', async () => {
  using folder = scratch();
  const path = `${folder.path}/trail`;
  await using broker = await startBroker(profileOf({ start: { rules: [`open ${folder.path}/*`] } }));
  const trail = TrailFile.open(path);
  closing.push(() => trail.close());
  using file = new OwnedFd(native.openFile({ directoryFd: -100, path, flags: 0o2001, mode: 0, resolve: 0 }));
  await broker.client.log(file);
  await broker.client.open(`${folder.path}/missing`).catch(() => undefined);
  (await broker.client.open(path)).close();
  expect(linesOf(path)).toMatchObject([
    { verdict: 'granted', request: 'open', target: `${folder.path}/missing:ro`, errno: 'ENOENT', rule: 'test.yaml:1' },
    { verdict: 'granted', request: 'open', target: `${path}:ro`, errno: null, rule: 'test.yaml:1' },
  ]);
});

test('a full disk stops nothing, and the lines that it cost are counted', async () => {
  using folder = scratch();
  const full = `${folder.path}/full`;
  execFileSync('mkdir', [full]);
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=4k', 'tmpfs', full]);
  using _mounted = { [Symbol.dispose]: () => execFileSync('umount', ['-l', full]) };
  await using broker = await startBroker(profileOf({ start: { rules: [] } }));
  using file = new OwnedFd(
    native.openFile({ directoryFd: -100, path: `${full}/trail`, flags: 0o2101, mode: 0o600, resolve: 0 }),
  );
  await broker.client.log(file);
  for (let request = 0; request < 40; request += 1) await refuse(broker, `/${request}`);
  const told = await broker.event((event) => event.type === 'broker' && event.what.startsWith('log lines'));
  expect(told).toMatchObject({ what: 'log lines that could not be written' });
  expect((told as { count: number }).count).toBeGreaterThan(5);
  expect((await broker.client.status()).denied).toBe(40);
  expect(readFileSync(`${full}/trail`, 'utf8').length).toBeGreaterThan(1000);
});

test('a trail that cannot be written is said before anything is started', () => {
  expect(() => TrailFile.open('/nowhere/trail')).toThrow(
    expect.objectContaining({ code: 'ARGUMENT_INVALID', errno: 'ENOENT' }),
  );
  expect(() => TrailFile.open('/dev/null')).toThrow(
    expect.objectContaining({ code: 'ARGUMENT_INVALID', errno: 'EINVAL' }),
  );
  using folder = scratch();
  execFileSync('mkfifo', [`${folder.path}/pipe`]);
  expect(() => TrailFile.open(`${folder.path}/pipe`)).toThrow(
    expect.objectContaining({ code: 'ARGUMENT_INVALID', errno: 'ENXIO' }),
  );
});

test('a pipe that takes the name of a trail holds nobody up, and the lines go on into the file that was there', () => {
  vi.useFakeTimers();
  closing.push(() => vi.useRealTimers());
  using folder = scratch();
  const path = `${folder.path}/trail`;
  const trail = TrailFile.open(path);
  closing.push(() => trail.close());
  const first = trail.fd;
  let reopened = 0;
  trail.onReopened = () => {
    reopened += 1;
  };
  renameSync(path, `${path}.1`);
  execFileSync('mkfifo', [path]);
  vi.advanceTimersByTime(2000);
  expect([trail.fd, reopened]).toEqual([first, 0]);
  rmSync(path);
  vi.advanceTimersByTime(1000);
  expect(reopened).toBe(1);
  expect(statSync(path).isFile()).toBe(true);
});

async function refuse(broker: ServedBroker, path: string): Promise<void> {
  await expect(broker.client.open(path)).rejects.toMatchObject({ code: 'REQUEST_REFUSED' });
}
