// SPDX-License-Identifier: Apache-2.0
// Control groups on the real hierarchy of this machine, with whatever controllers it has. That the limits hold is shown in a guest's kernel (cgroup-limits.test.ts).
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { launchGroup } from '../../core/group/launch-group.ts';
import { launchVmm } from '../../core/launch/launch.ts';
import type { Sandbox } from '../../core/launch/sandbox.ts';
import { Cgroup } from '../../core/layers/cgroup.ts';
import { cgroupMount, cgroupOf } from '../../core/layers/cgroup-tree.ts';
import { holdName } from '../../core/layers/held-name.ts';
import type { LayerOptions } from '../../core/layers/plan.ts';
import type { Vmm } from '../../core/vmm/vmm.ts';
import { attestRootless } from './rootless.ts';

const user = 61_997;
const mount = cgroupMount() ?? '';
/** Of its own, so that nothing else on the machine is in it. */
let parent: string;
let parentFolder: string;
let sandbox: Sandbox<Vmm> | undefined;
/** Something over a file of a group, which must be gone before the group is. */
let covered: string | undefined;

beforeEach(() => {
  parent = join(cgroupOf('self') ?? '/', `ratchet-test-${process.pid}`);
  parentFolder = join(mount, parent);
  mkdirSync(parentFolder);
});

afterEach(async () => {
  if (covered !== undefined) {
    execFileSync('umount', [covered]);
    rmdirSync(dirname(covered));
    covered = undefined;
  }
  await sandbox?.close();
  sandbox = undefined;
  rmdirSync(parentFolder);
});

async function start(layers: LayerOptions): Promise<Sandbox<Vmm>> {
  sandbox = await launchVmm({
    command: ['qemu-storage-daemon'],
    stdio: ['ignore', 'ignore', 'pipe'],
    layers,
  });
  return sandbox;
}

const rows = async (): Promise<readonly string[]> =>
  ((await sandbox?.attest())?.mechanisms ?? [])
    .filter(({ name }) => name.startsWith('cgroup'))
    .map(({ name, state, reason }) => `${name} ${state} ${reason}`);

describe('a daemon with a control group', () => {
  it('is in one of its own, which is the root of all that it sees', async () => {
    const { pid } = await start({ cgroup: { parent } });
    const [group] = readdirSync(parentFolder).filter((name) => name.startsWith('ratchet-'));
    expect(readFileSync(`/proc/${pid}/cgroup`, 'utf8')).toContain(`0::${parent}/${group}\n`);
    expect(readFileSync(join(parentFolder, group ?? '', 'cgroup.procs'), 'utf8')).toBe(`${pid}\n`);
    expect(await rows()).toEqual([`cgroup enforced ${parent}/${group}; what is left in it at the end is killed`]);
    expect(await sandbox?.attest()).toMatchObject({ ok: true });
  });

  it('is told of as partly confined when somebody moves it out', async () => {
    const { pid } = await start({ cgroup: { parent } });
    writeFileSync(join(parentFolder, 'cgroup.procs'), String(pid));
    expect(await rows()).toEqual([expect.stringMatching(`^cgroup partial it is in ${parent}, not in `)]);
    expect(await sandbox?.attest()).toMatchObject({ ok: false });
  });

  it('takes whatever is in it with it', async () => {
    await start({ cgroup: { parent } });
    const [group = ''] = readdirSync(parentFolder).filter((name) => name.startsWith('ratchet-'));
    const other = spawn('sleep', ['600'], { stdio: 'ignore' });
    const ended = once(other, 'exit');
    writeFileSync(join(parentFolder, group, 'cgroup.procs'), String(other.pid));
    await sandbox?.close();
    expect(await ended).toEqual([null, 'SIGKILL']);
    expect(existsSync(join(parentFolder, group))).toBe(false);
  });

  it('leaves no group when it cannot be started', async () => {
    const command: [string, string] = ['qemu-storage-daemon', '--no-such-option'];
    const layers = { cgroup: { parent } };
    await expect(launchVmm({ command, stdio: ['ignore', 'ignore', 'pipe'], layers })).rejects.toThrow('exited with');
    expect(readdirSync(parentFolder).filter((name) => name.startsWith('ratchet-'))).toEqual([]);
  });
});

describe('an end that fails', () => {
  /** Whatever is written to its cgroup.kill is refused (ENOSPC). */
  function refuseKill(): void {
    const [group = ''] = readdirSync(parentFolder).filter((name) => name.startsWith('ratchet-'));
    covered = join(parentFolder, group, 'cgroup.kill');
    execFileSync('mount', ['--bind', '/dev/full', covered]);
  }

  // A promise that nobody waits for would be an unhandled rejection here, and the end of a launcher.
  it('is told to whoever closes the sandbox, and to nobody else', async () => {
    const running = await start({ cgroup: { parent } });
    sandbox = undefined;
    refuseKill();
    void running.close();
    await running.exited;
    await expect(running.close()).rejects.toMatchObject({ code: 'CGROUP_FAILED' });
    await expect(running.kill()).rejects.toMatchObject({ code: 'CGROUP_FAILED' });
  });

  it('ends the group, and keeps no other member of it', async () => {
    const layers = { cgroup: { parent } };
    const command = ['qemu-storage-daemon'];
    const group = await launchGroup({
      group: {
        version: 1,
        name: 'stuck',
        members: { other: { command }, stuck: { command, layers, 'on-end': 'stop-group' } },
      },
    });
    refuseKill();
    const other = group.member('other');
    const stuck = group.member('stuck');
    stuck.terminate();
    await expect(group.exited).resolves.toMatchObject({ member: 'stuck' });
    await expect(group.stop()).rejects.toMatchObject({ code: 'CGROUP_FAILED' });
    expect([other.alive, stuck.alive]).toEqual([false, false]);
  });
});

describe('a controller that is not there', () => {
  const limits = { parent: '', memory: '1G', pids: 64, cpu: '200%' } as const;

  it('stops the launch, or is told of when it may be missing', async () => {
    const lacking = (['memory', 'pids', 'cpu'] as const).filter(
      (each) => !readFileSync(join(mount, 'cgroup.controllers'), 'utf8').includes(each),
    );
    if (lacking.length > 0)
      await expect(start({ cgroup: { ...limits, parent } })).rejects.toThrow(
        `the layer cgroup-${lacking[0]} cannot be made: ${parent} has no controller ${lacking[0]} in cgroup v2`,
      );
    const optional = ['cgroup-memory', 'cgroup-pids', 'cgroup-cpu'] as const;
    await start({ cgroup: { ...limits, parent }, optional });
    for (const each of ['memory', 'pids', 'cpu'] as const) {
      const state = lacking.includes(each) ? 'absent' : 'enforced';
      expect(await rows()).toContainEqual(expect.stringMatching(`^cgroup-${each} ${state}`));
    }
  });

  it('is no group that does not exist either', async () => {
    await expect(start({ cgroup: { parent: '/no-such-group' } })).rejects.toMatchObject({ code: 'KERNEL_UNSUPPORTED' });
  });
});

describe('a group whose launcher was killed', () => {
  it('is removed by the next one, and no other', () => {
    const forgotten = 'ratchet-999999-0000000a';
    const inUse = 'ratchet-999999-0000000b';
    const foreign = 'ratchet-other';
    for (const name of [forgotten, inUse, foreign]) mkdirSync(join(parentFolder, name));
    {
      using _held = holdName(inUse);
      const made = Cgroup.make({ parent, folder: parentFolder, files: [] });
      const left = readdirSync(parentFolder).filter((name) => name.startsWith('ratchet-'));
      expect(left.sort()).toEqual([inUse, foreign, made.name.split('/').at(-1)].sort());
      for (const name of [inUse, foreign]) rmdirSync(join(parentFolder, name));
      return made.end(1000);
    }
  });
});

describe('without root', () => {
  it('it is made in a group that was delegated', () => {
    const folder = mkdtempSync(join(tmpdir(), 'ratchet-cgroup-'));
    const launchers = join(parentFolder, 'launcher');
    mkdirSync(launchers);
    for (const path of [
      folder,
      parentFolder,
      join(parentFolder, 'cgroup.procs'),
      launchers,
      join(launchers, 'cgroup.procs'),
    ])
      chownSync(path, user, user);
    try {
      const { storage } = attestRootless({
        folder,
        user,
        before: `echo $$ > ${launchers}/cgroup.procs`,
        members: { storage: { command: ['qemu-storage-daemon'], layers: { cgroup: { parent } } } },
      });
      expect(storage).toMatchObject({ ok: true });
      const row = storage?.mechanisms.find(({ name }) => name === 'cgroup');
      expect(row).toMatchObject({ state: 'enforced' });
      expect(row?.reason).toMatch(new RegExp(`^${parent}/ratchet-\\d+-`));
    } finally {
      rmSync(folder, { recursive: true });
      rmdirSync(launchers);
    }
  });
});
