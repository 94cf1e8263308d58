// SPDX-License-Identifier: Apache-2.0
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { launch, launchVmm } from '../../core/launch/launch.ts';
import type { Sandbox } from '../../core/launch/sandbox.ts';
import { StorageDaemon } from '../../core/storage-daemon/storage-daemon.ts';
import type { Vmm } from '../../core/vmm/vmm.ts';

const run = promisify(execFile);

let folder: string;
let image: string;
let socket: string;
let sandbox: Sandbox<Vmm> | undefined;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'ratchet-daemon-'));
  image = join(folder, 'disk.img');
  socket = join(folder, 'nbd');
  writeFileSync(image, '');
  truncateSync(image, 1 << 20);
});

afterEach(async () => {
  await sandbox?.close();
  rmSync(folder, { recursive: true });
});

async function start(allow: readonly string[], ...args: readonly string[]): Promise<StorageDaemon> {
  sandbox = await launchVmm({
    command: ['qemu-storage-daemon', '--blockdev', `driver=file,node-name=disk,filename=${image}`, ...args],
    allow: allow.map((target) => ({ request: 'bind', target })),
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const { vmm } = sandbox;
  if (vmm instanceof StorageDaemon) return vmm;
  throw new Error('another adapter');
}

const served = () => [
  ...['--nbd-server', `addr.type=unix,addr.path=${socket}`],
  ...['--export', 'type=nbd,id=e,node-name=disk,name=disk,writable=on'],
];

async function writeAndRead(): Promise<string> {
  const commands = ['-c', 'write -P 7 0 64k', '-c', 'read -vP 7 0 16'];
  return (await run('qemu-io', ['-f', 'raw', ...commands, `nbd+unix:///disk?socket=${socket}`])).stdout;
}

describe('a storage daemon', () => {
  it('is tightened before it serves, and serves', async () => {
    await start([`unix:${socket}`], ...served());
    expect(sandbox?.stage).toBe('running');
    expect(await sandbox?.attest()).toMatchObject({ ok: true, stage: 'running' });
    expect(await writeAndRead()).toContain('07 07 07 07');
  });

  it('goes on serving when it is sealed', async () => {
    await start([`unix:${socket}`], ...served());
    expect(await sandbox?.enter('sealed')).toMatchObject({ ok: true, stage: 'sealed' });
    expect(await writeAndRead()).toContain('07 07 07 07');
  });

  it('does not listen where it was not granted', async () => {
    await expect(start([], ...served())).rejects.toThrow(/VMM_EXITED|ended|exited|Permission denied/);
    sandbox = undefined;
  });

  it('opens no image that was not granted, once it serves', async () => {
    const daemon = await start([]);
    const other = join(folder, 'other.img');
    writeFileSync(other, 'x'.repeat(512));
    await expect(
      daemon.qmp.execute('blockdev-add', { driver: 'file', 'node-name': 'other', filename: other }),
    ).rejects.toThrow('Permission denied');
    expect(sandbox?.stage).toBe('running');
  });

  it('is not for launch(), which gives back a QEMU', async () => {
    await expect(launch({ command: ['qemu-storage-daemon'] })).rejects.toThrow(
      'is for qemu-storage-daemon, not for qemu',
    );
  });

  it('may not fork away', async () => {
    await expect(start([], '--daemonize')).rejects.toThrow('--daemonize does not go together with ratchet');
    sandbox = undefined;
  });

  it('ends when it is asked to', async () => {
    const daemon = await start([]);
    await daemon.quit();
    expect(await sandbox?.exited).toEqual({ code: 0, signal: null });
  });
});
