// SPDX-License-Identifier: Apache-2.0
// What goes wrong while a group is started: one error that names the member, and nothing left.
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { launchGroup } from '../../core/group/launch-group.ts';
import { EventStream } from '../../core/launch/events.ts';
import { childrenOf, waitFor } from '../launch/processes.ts';

let folder: string;
let children: readonly number[];
let links: readonly string[];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'ratchet-failing-'));
  writeFileSync(join(folder, 'disk'), Buffer.alloc(1 << 20));
  children = childrenOf(process.pid);
  links = linkFolders();
});

afterEach(async () => {
  rmSync(folder, { recursive: true });
  await waitFor('every process ended', () => childrenOf(process.pid).every((pid) => children.includes(pid)));
  expect(linkFolders()).toEqual(links);
});

function linkFolders(): readonly string[] {
  return readdirSync(tmpdir()).filter((name) => name.startsWith('ratchet-group-'));
}

const storage = (...more: readonly string[]) => ({
  command: [
    'qemu-storage-daemon',
    ['--blockdev', `driver=file,node-name=disk,filename=${folder}/disk`],
    ['--nbd-server', `addr.type=fd,addr.str=\${nbd}`, '--export', 'type=nbd,id=e,node-name=disk'],
    more,
  ],
  allow: [`open=${folder}/disk`],
});

const machine = ['-no-user-config', '-nodefaults', '-display', 'none', '-machine', 'none'];

const vmm = (...more: readonly string[]) => ({
  command: [
    'qemu-system-x86_64',
    machine,
    ['-blockdev', `driver=nbd,node-name=d,server.type=unix,server.path=\${disk},export=disk,read-only=on`],
    more,
  ],
});

const groupOf = (members: object) => ({
  version: 1,
  name: 'failing',
  members,
  links: ['vmm.disk <- storage.nbd'],
});

describe('a group that cannot be started', () => {
  it.each([
    [
      'has no such program',
      () => ({ storage: storage(), vmm: { ...vmm(), profile: 'qemu', command: ['nowhere-to-be-found', '${disk}'] } }),
      /member vmm: there is no executable nowhere-to-be-found/,
    ],
    [
      'has a member that ends while it is set up',
      () => ({ storage: storage('--export', 'type=nbd,id=x,node-name=none'), vmm: vmm() }),
      /member storage: qemu-storage-daemon exited with status 1[\s\S]*none/,
    ],
    [
      'has a client that is refused by its server',
      () => ({
        storage: storage(),
        vmm: {
          ...vmm(),
          command: vmm()
            .command.flat()
            .map((word) => word.replace('export=disk', 'export=other')),
        },
      }),
      /member vmm: qemu-system-x86_64 exited with status 1[\s\S]*other/,
    ],
    [
      'has no such profile',
      () => ({ storage: storage(), vmm: { ...vmm(), profile: 'qemuu' } }),
      /member vmm: cannot find the profile "qemuu"/,
    ],
    [
      'has no such stage',
      () => ({ storage: storage(), vmm: { ...vmm(), stage: 'runing' } }),
      /member vmm: the profile has no stage runing/,
    ],
  ])('%s', async (_, members, message) => {
    await expect(launchGroup({ group: groupOf(members()) })).rejects.toThrow(message);
  });

  it('has a member that is never ready', async () => {
    // A QEMU that waits for somebody to connect does not answer its monitor.
    const waiting = vmm('-chardev', `socket,id=w,path=${folder}/w,server=on,wait=on`);
    const group = groupOf({ storage: storage(), vmm: { ...waiting, allow: [`bind=unix:${folder}/w`] } });
    await expect(launchGroup({ group, deadlineMs: 3000 })).rejects.toThrow(/member vmm: .*within 3000 ms/);
  });

  it('is given up', async () => {
    const giveUp = new AbortController();
    const launched = launchGroup({ group: groupOf({ storage: storage(), vmm: vmm() }), signal: giveUp.signal });
    giveUp.abort(new Error('enough'));
    await expect(launched).rejects.toThrow('enough');
  });
});

describe('the end of a member', () => {
  const twoMembers = (onEnd: unknown) => groupOf({ storage: { ...storage(), 'on-end': onEnd }, vmm: vmm() });
  const eventsOf = async (events: EventStream, seen: string[] = []): Promise<readonly string[]> => {
    for await (const event of events) if (event.type === 'member') seen.push(`${event['member']} ${event['what']}`);
    return seen;
  };

  it('stops the group where it is declared so', async () => {
    const group = await launchGroup({ group: twoMembers('stop-group') });
    process.kill(group.member('storage').pid, 'SIGKILL');
    expect(await group.exited).toMatchObject({ member: 'storage', status: { signal: 'SIGKILL' } });
  });

  it('leaves the others alone where it is declared so', async () => {
    const events = new EventStream();
    const seen = eventsOf(events);
    const group = await launchGroup({ group: twoMembers('go-on'), events });
    process.kill(group.member('storage').pid, 'SIGKILL');
    await group.member('storage').exited;
    expect(await group.member('vmm').vmm).toBeDefined();
    expect((await group.member('vmm').attest()).ok).toBe(true);
    await group.stop();
    expect(await seen).toEqual(['storage ended']);
  });

  it('is followed by as many restarts as are declared, and then by the end of the group', async () => {
    const events = new EventStream();
    const soFar: string[] = [];
    const seen = eventsOf(events, soFar);
    const group = await launchGroup({ group: twoMembers({ restart: 1, 'backoff-ms': 1 }), events });
    process.kill(group.member('storage').pid, 'SIGKILL');
    await waitFor('a restart', () => soFar.includes('storage restarted'));
    process.kill(group.member('storage').pid, 'SIGKILL');
    expect(await group.exited).toMatchObject({
      member: 'storage',
      words: 'member storage ended 2 times within a minute',
    });
    expect(await seen).toEqual(['storage ended', 'storage restarted', 'storage ended']);
  });
});
