// SPDX-License-Identifier: Apache-2.0
import { mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { childrenOf, waitFor } from '../launch/processes.ts';
import { GuestGroup, guestOf, guestWords } from './guest.ts';

let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'ratchet-group-test-'));
  for (const disk of ['user.img', 'nbd.img']) {
    writeFileSync(join(folder, disk), '');
    truncateSync(join(folder, disk), 16 << 20);
  }
});

afterAll(() => rmSync(folder, { recursive: true }));

/** Two disks in one storage daemon, one over vhost-user-blk and one over NBD. */
function group(): Readonly<Record<string, unknown>> {
  return {
    version: 1,
    name: 'storage-test',
    members: {
      vmm: {
        command: [
          'qemu-system-x86_64',
          [...guestWords(folder)],
          ['-chardev', `socket,id=disk0,path=\${disk0},reconnect=1`, '-device', 'vhost-user-blk-pci,chardev=disk0'],
          [
            '-blockdev',
            `driver=nbd,node-name=disk1,server.type=unix,server.path=\${disk1},export=nbd,reconnect-delay=30`,
          ],
          ['-device', 'virtio-blk-pci,drive=disk1'],
        ],
        features: ['vhost-user', 'nbd'],
        allow: [`open=${guestOf(folder).kernel}:ro`, `open=${guestOf(folder).initrd}:ro`],
      },
      storage: {
        command: [
          'qemu-storage-daemon',
          ['--blockdev', `driver=file,node-name=user,filename=${folder}/user.img`],
          ['--blockdev', `driver=file,node-name=nbd,filename=${folder}/nbd.img`],
          ['--export', `type=vhost-user-blk,id=e0,node-name=user,writable=on,addr.type=fd,addr.str=\${export0}`],
          ['--nbd-server', `addr.type=fd,addr.str=\${export1}`],
          ['--export', 'type=nbd,id=e1,node-name=nbd,name=nbd,writable=on'],
        ],
        allow: [`open=${folder}/*.img`],
        'on-end': { restart: 3 },
      },
    },
    links: ['vmm.disk0 <- storage.export0', 'vmm.disk1 <- storage.export1'],
  };
}

describe('a guest whose disks are in a storage daemon', () => {
  it('boots when both are tightened, reads and writes, and goes on when the daemon is killed', async () => {
    const before = new Set(childrenOf(process.pid));
    const sockets = (): string[] =>
      readdirSync(tmpdir()).filter((name) => name.startsWith('ratchet-group-') && !name.includes('test'));
    const left = sockets();
    const running = await GuestGroup.start({ group: group() });
    try {
      expect(running.group.members).toEqual(['storage', 'vmm']);
      const report = await running.group.attest();
      expect(report).toMatchObject({ ok: true, members: { vmm: { stage: 'running' }, storage: { stage: 'running' } } });

      const write = (disk: string, text: string, seek: number): string =>
        `printf ${text} | dd of=/dev/${disk} bs=512 seek=${seek} conv=sync,fsync 2>/dev/null && sync`;
      await running.shell(write('vda', 'user-one', 1));
      await running.shell(write('vdb', 'nbd-one', 1));
      expect(readFileSync(join(folder, 'user.img')).subarray(512, 520).toString()).toBe('user-one');
      expect(readFileSync(join(folder, 'nbd.img')).subarray(512, 519).toString()).toBe('nbd-one');

      const first = running.group.member('storage').pid;
      process.kill(first, 'SIGKILL');
      // No waiting in between: the guest asks while nobody answers.
      await running.shell(write('vdb', 'nbd-two', 2));
      await running.shell(write('vda', 'user-two', 2));
      expect(readFileSync(join(folder, 'user.img')).subarray(1024, 1032).toString()).toBe('user-two');
      expect(readFileSync(join(folder, 'nbd.img')).subarray(1024, 1031).toString()).toBe('nbd-two');
      expect(running.group.starts('storage')).toBe(2);
      expect(running.group.member('storage').pid).not.toBe(first);
      expect(await running.group.attest()).toMatchObject({ ok: true, members: { storage: { stage: 'running' } } });
    } finally {
      await running[Symbol.asyncDispose]();
    }
    expect((await running.group.exited).words).toBe('the group was stopped');
    await waitFor('no processes left', () => childrenOf(process.pid).every((pid) => before.has(pid)));
    expect(sockets()).toEqual(left);
  });
});
