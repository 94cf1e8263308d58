// SPDX-License-Identifier: Apache-2.0
// A group with a Linux guest on one host, and groups on another that are to take it over; between them a way that takes its time and loses packets.
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { attach, attachGroup } from '../../core/control/attach.ts';
import type { GroupReport, GroupStatus } from '../../core/group/group-report.ts';
import { ratchetAsync } from '../cli/ratchet.ts';
import { waitFor } from '../launch/processes.ts';
import { HostGroup, linkFolders } from './hosts/host-group.ts';
import { defineNv, extendPcr, readNv, writeNv } from './hosts/tpm-commands.ts';
import { TwoHosts } from './hosts/two-hosts.ts';

/** Of what the guest's memory and disk come to, some 60 MB. */
const midway = 8 << 20;
/** So that a migration is still midway when somebody has heard that it is. */
const slowly = { maxBytesPerSecond: 16 << 20, peerTimeoutMs: 2000 };
const members = ['storage', 'tpm', 'net', 'vmm'];

let folder: string;
let hosts: TwoHosts;
let here: HostGroup;
let there: readonly [HostGroup, HostGroup, HostGroup];
let first: GroupStatus;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'ratchet-hosts-'));
  hosts = await TwoHosts.create({
    ...{ delayMs: 20, jitterMs: 2, loss: 0.01, bytesPerSecond: 50e6, mtu: 9000, seed: 7 },
  });
  const receiver = (name: string, port: number) =>
    new HostGroup(hosts, { folder, host: 'there', name, port, incoming: true });
  here = new HostGroup(hosts, { folder, host: 'here', name: 'here', port: 4444 });
  there = [receiver('one', 4444), receiver('two', 4454), receiver('three', 4464)];
  first = await here.started();
});

afterAll(async () => {
  for (const group of [here, ...(there ?? [])]) {
    group?.run.child.kill('SIGTERM');
    await group?.run.ended;
  }
  await hosts?.close();
  rmSync(folder, { recursive: true });
});

const pids = ({ members }: GroupStatus): readonly number[] => Object.values(members).map(({ pid }) => pid);

async function migrateTo(other: HostGroup, how: object): Promise<unknown> {
  const { migration: address, disks } = other;
  await other.started();
  await other.request('accept', { address, disks, peerTimeoutMs: 2000 });
  return await here.request('migrate', { address, disks, ...how });
}

/** What the guest counts lies in its memory only. */
let counted = 0;
async function goesOn(group: HostGroup): Promise<void> {
  const now = Number(
    await group.shell(`until [ $(cat /tmp/count) -gt ${counted} ]; do usleep 10000; done; cat /tmp/count`),
  );
  expect(now).toBeGreaterThan(counted);
  counted = now;
}

describe('a group that can be asked', () => {
  it('tells of all its members, each in the form of a single VM', async () => {
    expect(Object.keys(first.members)).toEqual(members);
    for (const status of Object.values(first.members))
      expect(status).toMatchObject({ stage: 'running', alive: true, starts: 1, broker: { alive: true } });
    const { status, stdout } = await ratchetAsync('ctl', here.control, 'status', '--member', 'vmm', '--json');
    expect(status).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      vmm: 'qemu-system-x86_64',
      stage: 'running',
      stages: ['start', 'running', 'sealed'],
    });
    const text = (await ratchetAsync('ctl', here.control, 'status')).stdout;
    expect(text).toMatch(/^group moving\nMEMBER +PROGRAM/);
    expect(text).toMatch(/^tpm +swtpm +\d+ +running/m);
  });

  it('is read again as a whole, or one member alone', async () => {
    const { status, stdout } = await ratchetAsync('ctl', here.control, 'attest', '--json');
    expect(status).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      group: 'moving',
      ok: true,
      members: { net: { ok: true, stage: 'running' } },
    });
    expect((await (await attachGroup(here.control)).attest()).ok).toBe(true);
    await expect(attach(here.control)).rejects.toThrow('is the control socket of a group');
    expect(await here.request('attest', { member: 'net' })).toMatchObject({
      ok: true,
      stage: 'running',
      pid: first.members['net']?.pid,
    });
    expect(await here.request('metrics')).toMatchObject({ text: expect.stringContaining('member="storage"') });
  });

  it('refuses what it does not know', async () => {
    await expect(here.request('attest', { member: 'disk' })).rejects.toThrow('no member disk');
    await expect(here.request('stage', { name: 'sealled' })).rejects.toThrow(
      /member \w+: the profile has no stage sealled/,
    );
    await expect(here.request('stage', { name: 'running' })).rejects.toMatchObject({ code: 'STAGE_BACKWARDS' });
    await expect(here.request('cpu-add', { member: 'tpm' })).rejects.toThrow('this command is for QEMU');
    await expect(here.request('fly')).rejects.toThrow('no control command fly');
  });
});

describe('a guest that is to move', () => {
  it('has something to take along', async () => {
    await here.shell(
      '(while :; do i=$((i+1)); echo $i >/tmp/.count; mv /tmp/.count /tmp/count; usleep 20000; done) & until [ -s /tmp/count ]; do :; done',
    );
    await here.shell('printf on-disk | dd of=/dev/vda bs=512 seek=1 conv=sync,fsync 2>/dev/null');
    await here.shell(`${extendPcr(7)} && ${defineNv()} && ${writeNv('in a tpm')}`);
    expect(await here.shell(readNv())).toBe('in a tpm');
    await goesOn(here);
  });

  it('goes on where it is, with an errno to tell, when the way is cut', async () => {
    const cut = hosts.after(midway, 'cut');
    const failed = migrateTo(there[0], slowly);
    await expect(failed).rejects.toMatchObject({ code: 'MIGRATION_FAILED' });
    await expect(failed).rejects.toThrow(/ETIMEDOUT|Connection timed out/);
    await cut;
    hosts.mend();
    await goesOn(here);
    // Whoever waited there knows that nobody will come.
    expect((await there[0].run.ended).status).not.toBe(0);
  });

  it('goes on where it is when the receiving VMM is killed', async () => {
    const killed = hosts.after(midway, 'go-on').then(async () => {
      const { members } = (await there[1].request('status')) as GroupStatus;
      process.kill(members['vmm']?.pid ?? 0, 'SIGKILL');
    });
    await expect(migrateTo(there[1], slowly)).rejects.toMatchObject({ code: 'MIGRATION_FAILED' });
    await killed;
    await goesOn(here);
    expect((await there[1].run.ended).status).toBe(137);
  });

  it('has lost nothing by that', async () => {
    expect(pids((await here.request('status')) as GroupStatus)).toEqual(pids(first));
    expect(((await here.request('attest')) as GroupReport).ok).toBe(true);
    await here.shell('printf still-here | dd of=/dev/vda bs=512 seek=2 conv=sync,fsync 2>/dev/null');
    expect(await here.shell(readNv())).toBe('in a tpm');
  });

  it('moves with its disk and its TPM, over a way that loses packets', async () => {
    const pcr = await here.shell('cat /sys/class/tpm/tpm0/pcr-sha256/16');
    const report = await migrateTo(there[2], {});
    expect(report).toMatchObject({ channels: 1, transferredBytes: expect.any(Number) });
    const arrived = there[2];
    await goesOn(arrived);
    expect(await arrived.shell('dd if=/dev/vda bs=512 skip=1 count=2 2>/dev/null | tr -d "\\0 "')).toBe(
      'on-diskstill-here',
    );
    expect(await arrived.shell('cat /sys/class/tpm/tpm0/pcr-sha256/16')).toBe(pcr);
    expect(pcr).not.toMatch(/^0*$/);
    expect(await arrived.shell(readNv())).toBe('in a tpm');
    await arrived.shell('printf moved | dd of=/dev/vda bs=512 seek=3 conv=sync,fsync 2>/dev/null');
    expect(readFileSync(arrived.disk).subarray(1536, 1541).toString()).toBe('moved');
    expect(((await arrived.request('attest')) as GroupReport).ok).toBe(true);
  });

  it('leaves nothing where it was', async () => {
    expect(await here.run.ended).toMatchObject({ status: 0 });
    expect(existsSync(here.control)).toBe(false);
    for (const pid of pids(first)) expect(existsSync(`/proc/${pid}`)).toBe(false);
  });

  it('has a network at its new place', async () => {
    const arrived = there[2];
    const [program = '', ...args] = [...hosts.enter('there'), 'busybox', 'nc', '-l', '-p', '8080'];
    const server = spawn(program, args, { stdio: ['pipe', 'ignore', 'inherit'] });
    server.stdin.write('hello from there\n');
    try {
      await arrived.shell('ip addr add 10.0.2.15/24 dev eth0 && ip link set eth0 up');
      // The guest ends the connection: this passt at times misses an end that comes from its peer.
      const greet = `nc 10.0.2.2 8080 -e sh -c 'read line; echo "$line" >/tmp/line'`;
      expect(await arrived.shell(`until [ -s /tmp/line ]; do ${greet}; done; cat /tmp/line`)).toBe('hello from there');
    } finally {
      server.kill();
    }
  });

  it('is sealed there together with its members, those too that are started again', async () => {
    const arrived = there[2];
    const report = (await arrived.request('stage', { name: 'sealed' })) as GroupReport;
    expect(report.ok).toBe(true);
    expect(Object.values(report.members).map(({ stage }) => stage)).toEqual(members.map(() => 'sealed'));
    const { members: now } = (await arrived.request('status')) as GroupStatus;
    process.kill(now['storage']?.pid ?? 0, 'SIGKILL');
    await waitFor('a restart', () =>
      arrived.events.find(({ type, what }) => type === 'member' && what === 'restarted'),
    );
    expect(await arrived.request('status', { member: 'storage' })).toMatchObject({ stage: 'sealed', starts: 2 });
  });

  it('ends when it is asked to, and leaves nothing', async () => {
    const arrived = there[2];
    await arrived.request('quit');
    expect((await arrived.run.ended).status).toBe(0);
    expect(existsSync(arrived.control)).toBe(false);
    for (const group of there) await group.run.ended;
    expect(linkFolders(folder)).toEqual([]);
  });
});
