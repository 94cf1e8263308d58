// SPDX-License-Identifier: Apache-2.0
import { spawnSync } from 'node:child_process';
import {
  constants,
  fstatSync,
  ftruncateSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readSync,
  rmSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { native } from '../../native/index.ts';
import { packagePath } from '../../native/package-path.ts';
import { closesOnExec, failure, openFds } from './fds.ts';

const AT_FDCWD = -100;
const resolve = { noMagicLinks: 0x02, noSymlinks: 0x04, beneath: 0x08, inRoot: 0x10 } as const;
const O_PATH = 0o10000000;

let folder: string;
let directoryFd: number;
let before: number;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'ratchet-files-'));
  mkdirSync(join(folder, 'inside'));
  writeFileSync(join(folder, 'inside', 'file'), 'contents');
  writeFileSync(join(folder, 'secret'), 'secret');
  symlinkSync('../secret', join(folder, 'inside', 'up'));
  symlinkSync('/etc/passwd', join(folder, 'inside', 'absolute'));
  symlinkSync('file', join(folder, 'inside', 'link'));
  directoryFd = native.openFile({
    directoryFd: AT_FDCWD,
    path: join(folder, 'inside'),
    flags: O_PATH,
    mode: 0,
    resolve: 0,
  });
});

afterAll(() => {
  native.closeFd({ fd: directoryFd });
  rmSync(folder, { recursive: true });
});

beforeEach(() => {
  before = openFds();
});

afterEach(() => expect(openFds()).toBe(before));

const open = (path: string, resolveFlags: number, flags = 0, mode = 0) =>
  native.openFile({ directoryFd, path, flags, mode, resolve: resolveFlags });

describe('openFile', () => {
  it('opens what is beneath the directory, close-on-exec', () => {
    const fd = open('file', resolve.beneath);
    expect(readFileSync(fd, 'utf8')).toBe('contents');
    expect(closesOnExec(fd)).toBe(true);
    native.closeFd({ fd });
    native.closeFd({ fd: open('link', resolve.beneath) });
  });

  it.each<[string, number, string]>([
    ['../secret', resolve.beneath, 'EXDEV'],
    ['/etc/passwd', resolve.beneath, 'EXDEV'],
    ['up', resolve.beneath, 'EXDEV'],
    ['absolute', resolve.beneath, 'EXDEV'],
    ['absolute', resolve.inRoot, 'ENOENT'],
    ['up', resolve.inRoot, 'ENOENT'],
    ['link', resolve.noSymlinks, 'ELOOP'],
    ['/proc/self/fd/0', resolve.noMagicLinks, 'ELOOP'],
    ['nothing', 0, 'ENOENT'],
    ['', 0, 'ENOENT'],
    ['file', 1 << 20, 'EINVAL'],
  ])('%j with resolve %i fails with %s', (path, resolveFlags, code) => {
    expect(failure(() => open(path, resolveFlags))).toMatchObject({ code, syscall: 'openat2' });
  });

  it('creates with the mode that was given, and refuses flags that the kernel does not know', () => {
    const { O_CREAT, O_EXCL, O_RDWR } = constants;
    const fd = open('new', resolve.beneath, O_CREAT | O_EXCL | O_RDWR, 0o600);
    expect(fstatSync(fd).mode & 0o777).toBe(0o600);
    native.closeFd({ fd });
    expect(failure(() => open('new', resolve.beneath, O_CREAT | O_EXCL | O_RDWR, 0o600))).toMatchObject({
      code: 'EEXIST',
    });
    expect(failure(() => open('file', 0, 2 ** 40))).toMatchObject({ code: 'EINVAL' });
    expect(failure(() => open('file', 0, 0, 0o600))).toMatchObject({ code: 'EINVAL' });
  });

  it('takes no path with NUL', () => {
    expect(() => open('file\0x', 0)).toThrow(/openFile: option "path" must be a string without NUL/);
  });
});

describe('memfd', () => {
  const data = Buffer.from('a policy');

  it('sealed: is read from the start, and never changes again', () => {
    const fd = native.memfd({ name: 'sealed', data, seal: true });
    expect(readFileSync(fd, 'utf8')).toBe('a policy');
    expect(closesOnExec(fd)).toBe(true);
    for (const change of [() => writeSync(fd, 'x', 0), () => ftruncateSync(fd, 1), () => ftruncateSync(fd, 99)]) {
      expect(failure(change)).toMatchObject({ code: 'EPERM' });
    }
    expect(sealsOf(fd)).toBe('15');
    native.closeFd({ fd });
  });

  it('unsealed: can be written', () => {
    const fd = native.memfd({ name: 'open', data, seal: false });
    writeSync(fd, 'b', 0);
    const contents = Buffer.alloc(8);
    readSync(fd, contents, 0, 8, 0);
    expect(contents.toString()).toBe('b policy');
    native.closeFd({ fd });
  });

  it('holds nothing, or many bytes', () => {
    for (const size of [0, 5_000_000]) {
      const fd = native.memfd({ name: 'size', data: Buffer.alloc(size, 7), seal: true });
      expect(fstatSync(fd).size).toBe(size);
      native.closeFd({ fd });
    }
  });

  it('has a name of at most 249 bytes', () => {
    expect(failure(() => native.memfd({ name: 'x'.repeat(250), data, seal: true }))).toMatchObject({
      code: 'EINVAL',
      syscall: 'memfd_create',
    });
  });

  it('1,000 times leaves no fd', () => {
    for (let round = 0; round < 1000; round++) native.closeFd({ fd: native.memfd({ name: 'x', data, seal: true }) });
  });
});

describe('interfaces', () => {
  it('are made, brought up and down, and go with their fd (in a network namespace of their own)', () => {
    const IFF_TAP = 0x0002;
    const IFF_NO_PI = 0x1000;
    const source = `
      const native = require(${JSON.stringify(packagePath('build/Release/ratchet.node'))});
      const { networkInterfaces } = require('node:os');
      const { readFileSync } = require('node:fs');
      const names = () => readFileSync('/proc/net/dev', 'utf8').match(/^ *[^ :|]+:/gm).map((name) => name.trim()).join(' ');
      const facts = [];
      const tap = native.createTap({ name: 'guest%d', flags: ${IFF_TAP | IFF_NO_PI} });
      facts.push(tap.name, names());
      native.setInterfaceUp({ name: tap.name, up: true });
      facts.push(Object.keys(networkInterfaces()).length >= 0);
      const code = (action) => { try { action(); return 'ok'; } catch (error) { return error.code + ' ' + error.syscall; } };
      facts.push(code(() => native.createTap({ name: tap.name, flags: ${IFF_TAP | IFF_NO_PI} })));
      facts.push(code(() => native.createTap({ name: 'a-name-of-16-byt', flags: ${IFF_TAP} })));
      facts.push(code(() => native.createTap({ name: 'x', flags: 0 })));
      facts.push(code(() => native.setInterfaceUp({ name: 'nothing', up: true })));
      facts.push(code(() => native.setInterfaceUp({ name: 'a-name-of-16-byt', up: true })));
      native.setInterfaceUp({ name: tap.name, up: false });
      native.closeFd({ fd: tap.fd });
      facts.push(names());
      console.log(JSON.stringify(facts));`;
    const { stdout, stderr } = spawnSync('unshare', ['--net', process.execPath, '-e', source], { encoding: 'utf8' });
    expect(stderr).toBe('');
    expect(JSON.parse(stdout)).toEqual([
      'guest0',
      expect.stringMatching(/guest0:/),
      true,
      'EBUSY ioctl',
      'ENAMETOOLONG ioctl',
      'EINVAL ioctl',
      'ENODEV ioctl',
      'ENAMETOOLONG ioctl',
      expect.not.stringMatching(/guest0:/),
    ]);
  });
});

it.each<[string, () => unknown, RegExp]>([
  ['openFile', () => native.openFile({ directoryFd: -100, path: 1, flags: 0, mode: 0, resolve: 0 } as never), /"path"/],
  ['openFile', () => native.openFile({ directoryFd: -100, path: '/', flags: -1, mode: 0, resolve: 0 }), /"flags"/],
  ['memfd', () => native.memfd({ name: 'x', data: Buffer.alloc(0) } as never), /memfd: option "seal"/],
  ['createTap', () => native.createTap({ name: 'x', flags: 65536 }), /createTap: option "flags"/],
  ['setInterfaceUp', () => native.setInterfaceUp({ name: 'x', up: 1 } as never), /setInterfaceUp: option "up"/],
])('%s throws a TypeError that names the option', (_, action, message) => {
  expect(action).toThrow(TypeError);
  expect(action).toThrow(message);
});

/** F_GET_SEALS, which Node has no call for: asked of the kernel by another program. */
function sealsOf(fd: number): string {
  const F_GET_SEALS = 1034;
  const script = `import fcntl; print(fcntl.fcntl(3, ${F_GET_SEALS}))`;
  return spawnSync('python3', ['-c', script], {
    stdio: ['ignore', 'pipe', 'inherit', fd],
    encoding: 'utf8',
  }).stdout.trim();
}
