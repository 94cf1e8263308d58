// SPDX-License-Identifier: Apache-2.0
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { launchGroup, readAddition } from '../../core/group/launch-group.ts';
import type { OwnedFd } from '../../core/owned-fd.ts';
import { childrenOf, waitFor } from '../launch/processes.ts';
import { GuestGroup, guestOf } from './guest.ts';

let folder: string;
let server: Server;
let running: GuestGroup;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'ratchet-whole-'));
  writeFileSync(join(folder, 'disk.img'), '');
  truncateSync(join(folder, 'disk.img'), 16 << 20);
  writeFileSync(join(folder, 'more.img'), '');
  truncateSync(join(folder, 'more.img'), 4 << 20);
  writeFileSync(join(folder, 'tpm.state'), '');
  server = createServer((socket) => void socket.once('data', () => socket.write('hello from the host\n')));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  running = await GuestGroup.start({
    group: 'examples/group/whole.yaml',
    variables: variables(),
  });
});

afterAll(async () => {
  await running?.[Symbol.asyncDispose]();
  server.close();
  rmSync(folder, { recursive: true });
});

function variables(): Readonly<Record<string, string>> {
  return {
    ...guestOf(folder),
    accel: 'tcg',
    images: folder,
    disk: join(folder, 'disk.img'),
    tpm: join(folder, 'tpm.state'),
    connect: `tcp:127.0.0.1:${port()}`,
  };
}

function port(): number {
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : 0;
}

describe('a guest with its disk, its network and its TPM in processes of their own', () => {
  it('runs when all of them are tightened and verified', async () => {
    const report = await running.group.attest();
    expect(report.ok).toBe(true);
    expect(Object.entries(report.members).map(([name, { stage }]) => `${name} ${stage}`)).toEqual([
      'storage running',
      'tpm running',
      'net running',
      'vmm running',
    ]);
  });

  it('has its disk', async () => {
    await running.shell('printf on-disk | dd of=/dev/vda bs=512 seek=1 conv=sync,fsync 2>/dev/null');
    expect(readFileSync(join(folder, 'disk.img')).subarray(512, 519).toString()).toBe('on-disk');
  });

  it('has its TPM', async () => {
    expect(await running.shell('cat /sys/class/tpm/tpm0/tpm_version_major')).toBe('2');
    expect(await running.shell('cat /sys/class/tpm/tpm0/pcr-sha256/0')).toMatch(/^[0-9A-F]{64}$/);
  });

  it('has the network that its passt is granted, and no other', async () => {
    await running.shell('ip addr add 10.0.2.15/24 dev eth0 && ip link set eth0 up');
    expect(await running.shell(greet('10.0.2.2'))).toBe('hello from the host');
    await expect(running.shell('nc -w 3 10.0.2.2 1 </dev/null')).rejects.toThrow('ended with 1');
    expect(running.events).toContainEqual(
      expect.objectContaining({ type: 'refusal', member: 'net', syscall: 'connect' }),
    );
  });

  it('gets another disk of its storage daemon', async () => {
    const { sandbox } = running;
    const path = sandboxPath();
    const { qmp } = running.storage();
    await using _ = await running.group.member('storage').grant({ request: 'open', target: join(folder, 'more.img') });
    await qmp.executeAny(
      'blockdev-add',
      { driver: 'file', 'node-name': 'more', filename: join(folder, 'more.img') },
      {},
    );
    await qmp.executeAny(
      'block-export-add',
      { type: 'nbd', id: 'more', 'node-name': 'more', name: 'more', writable: true },
      {},
    );
    const nbd = { driver: 'nbd', 'node-name': 'more', export: 'more', server: { type: 'unix', path } };
    await sandbox.vmm.qmp.executeAny('blockdev-add', nbd, {});
    await sandbox.vmm.qmp.executeAny('device_add', { driver: 'virtio-blk-pci', id: 'more', drive: 'more' }, {});
    await running.shell('until [ -b /dev/vdb ]; do usleep 10000; done');
    await running.shell('printf plugged | dd of=/dev/vdb bs=512 conv=sync,fsync 2>/dev/null');
    expect(readFileSync(join(folder, 'more.img')).subarray(0, 7).toString()).toBe('plugged');
  });

  it('gets another network card, in a passt that joins the group', async () => {
    const wire = ['-f', '-e', '-q', '-F', '${wire}', '--runas', '0:0', '-t', 'none', '-u', 'none'];
    const addresses = ['-4', '-i', 'lo', '-a', '10.0.3.15', '-n', '24', '-g', '10.0.3.2', '-M', '52:54:00:12:34:58'];
    const addition = readAddition(running.group, {
      version: 1,
      name: 'second',
      members: {
        net2: {
          command: ['passt', wire, addresses, ['-D', 'none', '-S', 'none']],
          allow: [`connect=tcp:127.0.0.1:${port()}`],
          'on-end': 'go-on',
        },
      },
      links: [{ link: 'vmm.net1 <- net2.wire', kind: 'pair' }],
    });
    using end = (await running.group.add(addition)).get('vmm.net1') as OwnedFd;
    await running.sandbox.vmm.hotplug.addNic({ id: 'net1', fd: end });
    await running.shell('until [ -e /sys/class/net/eth1 ]; do usleep 10000; done');
    await running.shell('ip addr add 10.0.3.15/24 dev eth1 && ip link set eth1 up');
    expect(await running.shell(greet('10.0.3.2'))).toBe('hello from the host');
    expect(await running.group.attest()).toMatchObject({ ok: true, members: { net2: { stage: 'running' } } });
  });

  it('goes on without its network where that is declared so', async () => {
    process.kill(running.group.member('net').pid, 'SIGKILL');
    await running.group.member('net').exited;
    expect(await running.shell('echo alive')).toBe('alive');
  });

  it('goes on when its storage is killed', async () => {
    process.kill(running.group.member('storage').pid, 'SIGKILL');
    await running.shell('printf again | dd of=/dev/vda bs=512 seek=2 conv=sync,fsync 2>/dev/null');
    expect(readFileSync(join(folder, 'disk.img')).subarray(1024, 1029).toString()).toBe('again');
    expect(running.group.starts('storage')).toBe(2);
  });

  it('ends with its TPM', async () => {
    process.kill(running.group.member('tpm').pid, 'SIGKILL');
    expect(await running.group.exited).toMatchObject({ member: 'tpm', status: { signal: 'SIGKILL' } });
  });
});

describe('a member that is killed while the group is started', () => {
  it.each(['qemu-storage-daemon', 'swtpm', 'passt', 'qemu-system-x86_64'])('ends the launch: %s', async (program) => {
    const before = childrenOf(process.pid);
    const launched = launchGroup({ group: 'examples/group/whole.yaml', variables: variables() });
    launched.catch(() => undefined);
    const pid = await waitFor(program, () =>
      childrenOf(process.pid).find((child) => !before.includes(child) && nameOf(child) === program.slice(0, 15)),
    );
    process.kill(pid, 'SIGKILL');
    await expect(launched).rejects.toThrow(/^member \w+/);
    await waitFor('every process ended', () => childrenOf(process.pid).every((child) => before.includes(child)));
  });
});

function nameOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').trim();
  } catch {
    // It ended since it was listed.
    return '';
  }
}

/** The guest closes first: this passt at times misses the end of a connection that its peer closes. */
function greet(host: string): string {
  return `nc ${host} ${port()} -e sh -c 'echo hello; read line; echo "$line" >/tmp/line' ; cat /tmp/line; rm /tmp/line`;
}

/** Where the storage daemon of the example is reached. */
function sandboxPath(): string {
  const told = running.events.find(({ type, member }) => type === 'grant' && member === 'vmm');
  return String(told?.['target']).replace('unix:', '');
}
