// SPDX-License-Identifier: Apache-2.0
// Stage after stage on one QEMU, whose guest reads and writes its disk and answers on its network all the time, with vCPUs plugged in between.

import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buildGuest, guestArguments } from '../../core/demo/guest.ts';
import { GuestConsole, guestTicks } from '../../core/demo/guest-console.ts';
import { guestAddress } from '../../core/demo/guest-init.ts';
import { launch } from '../../core/launch/launch.ts';
import { packagePath } from '../../native/package-path.ts';
import { profileWithRoles } from '../launch/profile-with-roles.ts';
import { FramedPeer } from '../qemu/framed-peer.ts';
import { exact, type Figure, measured } from './figure.ts';

const allVms = 4;
const stagesPerVm = 50;
const stagesPerCpu = 10;

export async function soakQemu(part: number): Promise<readonly Figure[]> {
  const vms = Math.ceil(allVms / part);
  const stages = Math.ceil((allVms * stagesPerVm) / part / vms);
  const entered: number[] = [];
  const answers: number[] = [];
  for (let vm = 0; vm < vms; vm++) {
    const run = await oneVm(stages);
    entered.push(...run.enteredMs);
    answers.push(run.answers);
  }
  return [
    exact('stage changes of QEMU under load, none failed', '', entered.length),
    measured('QEMU under load: enter a stage, threads with roles', 'ms', entered),
    measured('answers of the guest on its network, a VM', '', answers),
  ];
}

export interface SoakedVm {
  readonly enteredMs: readonly number[];
  readonly answers: number;
}

/** Throws when a stage could not be entered, when the guest's count has a gap, or when its disk is not what it was. */
export async function oneVm(stages = stagesPerVm): Promise<SoakedVm> {
  const folder = mkdtempSync(join(tmpdir(), 'ratchet-soak-'));
  const image = join(folder, 'disk.img');
  writeFileSync(image, randomBytes(4 * 1024 * 1024));
  const before = digest(image);
  try {
    const run = await soakVm(folder, image, stages);
    if (digest(image) !== before) throw new Error('the disk holds something else than before');
    return run;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

async function soakVm(folder: string, image: string, stages: number): Promise<SoakedVm> {
  const guest = guestArguments(await buildGuest({ cacheFolder: packagePath('.cache') }));
  const socket = join(folder, 'nic');
  await using peer = await FramedPeer.listen(socket);
  await using sandbox = await launch({
    command: ['qemu-system-x86_64', ...withLoad(guest), '-drive', `file=${image},format=raw,if=virtio`],
    profile: manyStages(stages),
    allow: [{ request: 'connect', target: `unix:${socket}` }],
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const guestMs = 120_000;
  const console = new GuestConsole(sandbox.stdout);
  await console.waitForLine(/ratchet-guest: round 1/, guestMs);
  await sandbox.vmm.hotplug.addNic({ id: 'nic1', connect: `unix:${socket}` });
  await console.waitForLine(/ratchet-guest: nic eth0/, guestMs);
  let asking = true;
  let answers = 0;
  const network = (async () => {
    for (; asking; answers++) await peer.whoHas(guestAddress, '192.0.2.1');
  })();
  const enteredMs: number[] = [];
  for (const [index, stage] of sandbox.stages.slice(2).entries()) {
    const begun = performance.now();
    const report = await sandbox.enter(stage);
    enteredMs.push(performance.now() - begun);
    if (!report.ok) throw new Error(`stage ${stage}: ${JSON.stringify(report.mechanisms)}`);
    if (index % stagesPerCpu === stagesPerCpu - 1) await sandbox.vmm.hotplug.addCpu();
  }
  // It answers and counts on.
  const answered = answers;
  const ticks = guestTicks(console.text).length;
  while (answers === answered || guestTicks(console.text).length === ticks) await new Promise(setImmediate);
  asking = false;
  await network;
  const counted = guestTicks(console.text);
  if (counted.some((tick, index) => tick !== index + 1)) throw new Error(`the guest's count has a gap: ${counted}`);
  return { enteredMs, answers };
}

function withLoad(guest: readonly string[]): readonly string[] {
  return guest.map((word, index) => {
    if (guest[index - 1] === '-append') return `${word} load=yes`;
    return guest[index - 1] === '-smp' ? '1,maxcpus=8' : word;
  });
}

/** QEMU's profile with as many stages after `running`, each as `running`, and a role. */
function manyStages(count: number): Readonly<Record<string, unknown>> {
  const profile = profileWithRoles({ running: { vcpu: ['accept4'] } }) as {
    readonly stages: Readonly<Record<string, { readonly broker?: unknown; readonly syscalls: unknown[] }>>;
  };
  const { start, running } = profile.stages;
  // What the features of the network backend would add.
  for (const stage of [start, running]) stage?.syscalls.push({ allow: ['recvfrom'], why: 'a soak' });
  const later = Array.from({ length: count }, (_, index) => [
    `stage${index + 1}`,
    { why: 'a soak', from: index === 0 ? 'running' : `stage${index}`, broker: running?.broker },
  ]);
  return { ...profile, stages: { start, running, ...Object.fromEntries(later) } };
}

/** Without its beginning, where the guest writes. */
function digest(file: string): string {
  return createHash('sha256')
    .update(readFileSync(file).subarray(256 * 1024))
    .digest('hex');
}
