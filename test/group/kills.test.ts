// SPDX-License-Identifier: Apache-2.0
// kill -9 of each member and of each broker, in each stage: what is declared happens, and nothing else.
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Group } from '../../core/group/group.ts';
import { launchGroup } from '../../core/group/launch-group.ts';
import { childrenOf, waitFor } from '../launch/processes.ts';

const names = ['storage', 'tpm', 'net', 'vmm'] as const;
let folder: string;
let children: readonly number[];

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'ratchet-kills-'));
  children = childrenOf(process.pid);
  writeFileSync(join(folder, 'disk'), '');
  truncateSync(join(folder, 'disk'), 1 << 20);
  writeFileSync(join(folder, 'tpm'), '');
});

afterAll(async () => {
  rmSync(folder, { recursive: true });
  await nothingLeft();
});

async function nothingLeft(): Promise<void> {
  await waitFor('every process ended', () => childrenOf(process.pid).every((pid) => children.includes(pid)));
}

/** A guest without anything to boot, whose devices are in the other members. */
function group(): Readonly<Record<string, unknown>> {
  const wire = ['-f', '-e', '-q', '-F', `\${wire}`, '--runas', '0:0', '-t', 'none', '-u', 'none'];
  const addresses = [
    '-4',
    '-i',
    'lo',
    '-a',
    '10.0.2.15',
    '-n',
    '24',
    '-g',
    '10.0.2.2',
    '-M',
    '52:54:00:12:34:57',
    '-D',
    'none',
    '-S',
    'none',
  ];
  return {
    version: 1,
    name: 'killed',
    members: inStart({
      storage: {
        command: [
          'qemu-storage-daemon',
          ['--blockdev', `driver=file,node-name=disk,filename=${folder}/disk`],
          ['--nbd-server', `addr.type=fd,addr.str=\${nbd}`, '--export', 'type=nbd,id=e,node-name=disk,writable=on'],
        ],
        allow: [`open=${folder}/disk`],
        'on-end': { restart: 5, 'backoff-ms': 1 },
      },
      tpm: {
        command: [
          'swtpm',
          ['socket', '--tpm2', '--ctrl', `type=unixio,clientfd=\${ctrl}`, '--seccomp', 'action=none'],
          ['--tpmstate', `backend-uri=file://${folder}/tpm`],
        ],
        allow: [`open=${folder}/tpm`],
      },
      net: { command: ['passt', wire, addresses], 'on-end': 'go-on' },
      vmm: {
        command: [
          'qemu-system-x86_64',
          ['-no-user-config', '-nodefaults', '-display', 'none', '-machine', 'pc,accel=tcg', '-m', '16'],
          ['-blockdev', `driver=nbd,node-name=d,server.type=unix,server.path=\${disk},export=disk,reconnect-delay=30`],
          ['-device', 'virtio-blk-pci,drive=d'],
          ['-chardev', `socket,id=t,fd=\${tpm0}`, '-tpmdev', 'emulator,id=t,chardev=t', '-device', 'tpm-tis,tpmdev=t'],
          ['-netdev', `stream,id=n,server=off,addr.type=fd,addr.str=\${net0}`, '-device', 'e1000,netdev=n,romfile='],
        ],
        features: ['nbd', 'tpm-emulator', 'nic-socket'],
      },
    }),
    links: [
      'vmm.disk <- storage.nbd',
      { link: 'vmm.tpm0 <- tpm.ctrl', kind: 'pair' },
      { link: 'vmm.net0 <- net.wire', kind: 'pair' },
    ],
  };
}

function inStart(members: Readonly<Record<string, object>>): object {
  return Object.fromEntries(Object.entries(members).map(([name, member]) => [name, { ...member, stage: 'start' }]));
}

async function killBroker(of: Group, name: string): Promise<void> {
  const { broker } = await of.member(name).status();
  process.kill(broker.pid, 'SIGKILL');
  await waitFor(`another broker of ${name}`, async () => {
    const next = (await of.member(name).status()).broker;
    return next.alive && next.pid !== broker.pid;
  });
}

const pidsOf = (of: Group): object => Object.fromEntries(names.map((name) => [name, of.member(name).pid]));

async function killStorage(of: Group): Promise<void> {
  const [starts, { storage: _, ...others }] = [of.starts('storage'), pidsOf(of) as Record<string, number>];
  process.kill(of.member('storage').pid, 'SIGKILL');
  await waitFor('a restart', () => of.starts('storage') === starts + 1);
  expect((await of.attest()).ok).toBe(true);
  expect(pidsOf(of)).toMatchObject(others);
}

/** It stays in `start`, so that each stage can be looked at. */
const launched = async (): Promise<Group> => await launchGroup({ group: group() });

describe.sequential('a group whose processes are killed', () => {
  let running: Group;

  beforeAll(async () => {
    running = await launched();
  });

  afterAll(async () => {
    await running?.stop();
  });

  it.each(['start', 'running', 'sealed'])(
    'goes on in `%s` with other brokers and a storage that is started again',
    async (stage) => {
      if (stage !== 'start') {
        const { ok, members } = await running.enter(stage);
        expect([ok, new Set(Object.values(members).map((member) => member.stage))]).toEqual([true, new Set([stage])]);
        await expect(running.enter(stage)).rejects.toMatchObject({ code: 'STAGE_BACKWARDS' });
      }
      const before = pidsOf(running);
      const present = Object.keys((await running.attest()).members);
      for (const name of present) await killBroker(running, name);
      expect(pidsOf(running)).toEqual(before);
      await killStorage(running);
      const { ok, members } = await running.attest();
      expect([ok, Object.values(members).map((member) => member.stage)]).toEqual([true, present.map(() => stage)]);
      if (stage === 'running') await killNet(running);
    },
  );

  it('ends in `sealed` with its TPM', async () => {
    process.kill(running.member('tpm').pid, 'SIGKILL');
    expect(await running.exited).toMatchObject({ member: 'tpm', status: { signal: 'SIGKILL' } });
    await nothingLeft();
  });

  it.each([
    ['start', 'tpm'],
    ['sealed', 'vmm'],
  ])('ends in `%s` with its %s', async (stage, name) => {
    const other = await launched();
    if (stage !== 'start') await other.enter(stage);
    process.kill(other.member(name).pid, 'SIGKILL');
    expect(await other.exited).toMatchObject({ member: name, status: { signal: 'SIGKILL' } });
    await nothingLeft();
  });
});

/** Its end is nobody else's. */
async function killNet(running: Group): Promise<void> {
  const { net, ...others } = pidsOf(running) as Record<string, number>;
  process.kill(net ?? 0, 'SIGKILL');
  await running.member('net').exited;
  const report = await running.attest();
  expect([report.ok, Object.keys(report.members)]).toEqual([true, ['storage', 'tpm', 'vmm']]);
  expect(pidsOf(running)).toMatchObject(others);
  expect((await running.status()).members['net']).toMatchObject({ alive: false, threads: [] });
}
