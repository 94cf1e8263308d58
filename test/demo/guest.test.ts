// SPDX-License-Identifier: Apache-2.0
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { afterAll, describe, expect, test } from 'vitest';
import { packArchive } from '../../core/demo/cpio.ts';
import { buildGuest } from '../../core/demo/guest.ts';
import { GuestConsole, guestTicks } from '../../core/demo/guest-console.ts';
import { findGuestKernel, resolveModules } from '../../core/demo/guest-kernel.ts';

const folder = mkdtempSync(join(tmpdir(), 'ratchet-guest-'));
afterAll(() => rmSync(folder, { recursive: true }));

describe('the initrd', () => {
  test('is an archive that cpio reads back', () => {
    const archive = packArchive([
      { kind: 'folder', path: 'bin' },
      { kind: 'file', path: 'bin/program', data: Buffer.from('text!'), executable: true },
      { kind: 'link', path: 'bin/other', target: 'program' },
      { kind: 'file', path: 'empty', data: Buffer.alloc(0), executable: false },
    ]);
    const target = join(folder, 'unpacked');
    mkdirSync(target);
    const { status, stderr } = spawnSync('cpio', ['-idm', '--quiet'], {
      cwd: target,
      input: archive,
      encoding: 'utf8',
    });
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(readFileSync(join(target, 'bin/other'), 'utf8')).toBe('text!');
    expect(readFileSync(join(target, 'empty'), 'utf8')).toBe('');
    const listing = spawnSync('cpio', ['-itv', '--quiet'], { input: archive, encoding: 'utf8' }).stdout;
    expect(listing).toMatch(/^-rwxr-xr-x .* bin\/program$/m);
    expect(listing).toMatch(/^lrwxrwxrwx .* bin\/other -> program$/m);
  });

  test('is built once: the same inputs give the same file', async () => {
    const first = await buildGuest({ cacheFolder: '.cache' });
    expect(await buildGuest({ cacheFolder: '.cache' })).toEqual(first);
    expect(readFileSync(first.initrd).subarray(0, 6).toString()).toBe('070701');
  });
});

describe('the kernel of the guest', () => {
  test('has its modules in an order in which each finds what it needs', () => {
    const files = resolveModules(findGuestKernel('.cache'), ['virtio_net']).map((file) => file.split('/').at(-1));
    expect(files).toContain('virtio_net.ko');
    expect(files.indexOf('failover.ko')).toBeLessThan(files.indexOf('net_failover.ko'));
    expect(files.indexOf('net_failover.ko')).toBeLessThan(files.indexOf('virtio_net.ko'));
    expect(new Set(files).size).toBe(files.length);
  });

  test('a module that it does not have is named', () => {
    expect(() => resolveModules(findGuestKernel('.cache'), ['no_such_module'])).toThrow(/no_such_module/);
  });

  test('is missed with the command that fetches it', () => {
    const installed = (): unknown => findGuestKernel(join(folder, 'empty-cache'));
    // A machine that runs a cloud kernel itself has one installed.
    const outcome = attempt(installed);
    expect(outcome).toMatch(/setup\.mjs|vmlinuz-.*cloud/);
  });

  test('the newest of several is taken, by the numbers in its name', () => {
    const cache = join(folder, 'cache');
    for (const version of ['6.1.0-9-cloud', '6.1.0-56-cloud', '6.1.0-10-cloud']) {
      mkdirSync(join(cache, 'guest/kernel/lib/modules', version), { recursive: true });
      mkdirSync(join(cache, 'guest/kernel/boot'), { recursive: true });
      writeFileSync(join(cache, 'guest/kernel/boot', `vmlinuz-${version}`), '');
    }
    expect(findGuestKernel(cache).version).toBe('6.1.0-56-cloud');
  });
});

describe('the console of the guest', () => {
  test('finds lines that came before and lines that come in pieces later', async () => {
    const stream = new PassThrough();
    const console = new GuestConsole(stream);
    stream.write('one\r\ntwo 2\r\nth');
    expect((await console.waitForLine(/^two (\d)$/, 1000))[1]).toBe('2');
    const later = console.waitForLine(/^three$/, 1000);
    stream.write('ree\n');
    await later;
    expect(console.text).toBe('one\r\ntwo 2\r\nthree\n');
  });

  test('searches from a position on', async () => {
    const stream = new PassThrough();
    const console = new GuestConsole(stream);
    stream.write('cpus 1\n');
    await console.waitForLine(/cpus 1/, 1000);
    const again = console.waitForLine(/cpus (\d)/, 1000, console.text.length);
    stream.write('cpus 2\n');
    expect((await again)[1]).toBe('2');
  });

  test('a silent guest and an ended one are errors with the last lines', async () => {
    const stream = new PassThrough();
    const console = new GuestConsole(stream);
    stream.write('Kernel panic\n');
    await expect(console.waitForLine(/up/, 20)).rejects.toMatchObject({
      code: 'GUEST_SILENT',
      message: expect.stringMatching(/\/up\/ within 20 ms.*Kernel panic/s),
    });
    const waiting = console.waitForLine(/up/, 10_000);
    stream.destroy();
    await expect(waiting).rejects.toMatchObject({ message: expect.stringContaining('closed') });
  });

  test('ticks are read in order, and a cut line is whole in the joined text', () => {
    expect(guestTicks('ratchet-guest: tick 1\r\nx\r\nratchet-guest: tick 2\nratchet-gu')).toEqual([1, 2]);
    expect(guestTicks(`${'ratchet-guest: ti'}${'ck 3\n'}`)).toEqual([3]);
  });
});

function attempt(act: () => unknown): string {
  try {
    return JSON.stringify(act());
  } catch (error) {
    return (error as Error).message;
  }
}
