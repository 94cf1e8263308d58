// SPDX-License-Identifier: Apache-2.0
// The whole story, in order: start filter, tightening before the first guest instruction, brokered hotplug, two migrations, and what
// the tightened VMM is refused.
import { createServer, type Server } from 'node:net';

import { deferred } from '../deferred.ts';
import { describeRefusal } from '../launch/describe-refusal.ts';
import type { SandboxStatus } from '../launch/sandbox-status.ts';
import { type FilterSummary, type Grant, summarizeFilter } from '../policy/index.ts';
import { hostArch, loadProfile } from '../profile-files.ts';
import { readTasks } from '../stages/tasks.ts';
import { diskText } from './demo-disk.ts';
import { type DemoVm, startDemoVm } from './demo-vm.ts';
import { buildGuest } from './guest.ts';
import { guestTicks } from './guest-console.ts';
import { attempt, attempts } from './refused-attempts.ts';
import type { Steps } from './steps.ts';

const guestMs = 30_000;
const byFd = 'tcp:127.0.0.1:4501';
const byMultifd = 'tcp:127.0.0.1:4502';
const multifdChannels = 4;
const mac = '52:54:00:12:34:56';
const slots = { nic: '10', disk: '11' } as const;

export interface Story {
  readonly stages: readonly {
    readonly stage: string;
    readonly summary: FilterSummary;
    readonly filtersPerThread: number;
  }[];
  /** Of the VM that is left at the end. */
  readonly status: SandboxStatus;
}

export interface StoryOptions {
  readonly steps: Steps;
  /** Path of the disk image. */
  readonly disk: string;
  readonly cacheFolder: string;
  readonly signal: AbortSignal;
}

export async function tellStory({ steps, disk, cacheFolder, signal }: StoryOptions): Promise<Story> {
  const run: Steps['run'] = async (name, act) => {
    return await steps.run(name, () => untilAborted(signal, act));
  };
  const allow: Grant[] = [
    { request: 'tap', target: 'ratchet%d' },
    { request: 'open', target: disk },
    ...[byFd, byMultifd].flatMap((target): Grant[] => [
      { request: 'connect', target },
      { request: 'bind', target },
    ]),
  ];
  await using vms = new Running();
  const start = (incoming: boolean, until: string): Promise<DemoVm> =>
    vms.add(startDemoVm({ guest, allow, until, incoming, ownedPaths: [disk] }));

  const { guest } = await run('guest image', async () => {
    const guest = await buildGuest({ cacheFolder });
    return { guest, detail: `${guest.kernel}, initrd of busybox` };
  });
  const first = await run('start: QEMU under its start filter, machine built, paused', async () => {
    const vm = await start(false, 'start');
    return { vm, detail: everyThread(vm, 1) };
  }).then(({ vm }) => vm);
  await run('running: tightened in every thread before the first guest instruction', async () => {
    await first.sandbox.enter('running');
    const { status } = await first.sandbox.vmm.status();
    if (status !== 'prelaunch') throw new Error(`the guest ran before the stage was verified (${status})`);
    return { detail: everyThread(first, 2) };
  });
  await run('the guest boots', async () => {
    await first.sandbox.vmm.cont();
    await first.console.waitForLine(/ratchet-guest: up/, guestMs);
    const [line] = await first.console.waitForLine(/ratchet-guest: tick \d+/, guestMs);
    return { detail: line };
  });
  await run('hotplug: a NIC on a tap device of the broker', async () => {
    const { tap } = await first.sandbox.vmm.hotplug.addNic({
      id: 'nic1',
      tap: 'ratchet%d',
      mac,
      pciAddress: slots.nic,
    });
    const [line] = await first.console.waitForLine(new RegExp(`ratchet-guest: nic \\S+ ${mac}`), guestMs);
    return { detail: `${tap}; the guest says "${line}"` };
  });
  await run('hotplug: a disk that the broker opened', async () => {
    await first.sandbox.vmm.hotplug.addDisk({ id: 'disk1', path: disk, pciAddress: slots.disk });
    const [line] = await first.console.waitForLine(new RegExp(`ratchet-guest: disk-text \\S+ ${diskText}`), guestMs);
    return { detail: `the guest says "${line}"` };
  });
  await run('hotplug: a second vCPU', async () => {
    await first.sandbox.vmm.hotplug.addCpu({ id: 'cpu1' });
    const [line] = await first.console.waitForLine(/ratchet-guest: cpus 2/, guestMs);
    return { detail: `${line}; ${everyThread(first, 2)}` };
  });
  await run('hot-unplug: the NIC', async () => {
    await first.sandbox.vmm.hotplug.removeNic('nic1');
    const [line] = await first.console.waitForLine(/ratchet-guest: nic-gone/, guestMs);
    return { detail: `the guest says "${line}"` };
  });

  const move = async (from: DemoVm, address: string, channels: number): Promise<{ vm: DemoVm; detail: string }> => {
    const vm = await start(true, 'running');
    await vm.sandbox.vmm.hotplug.addDisk({ id: 'disk1', path: disk, pciAddress: slots.disk });
    await vm.sandbox.vmm.hotplug.addCpu({ id: 'cpu1' });
    const incoming = await vm.sandbox.vmm.acceptMigration(address, { channels });
    const report = await from.sandbox.vmm.migrate(address, { channels });
    await incoming.completed;
    await vm.console.waitForLine(/^ratchet-guest: tick \d+$/, guestMs, vm.console.text.indexOf('\n') + 1);
    const ticks = unbrokenTicks(from.console.text + vm.console.text);
    return {
      vm,
      detail: `${ticks}; ${report.transferredBytes} bytes, guest stopped for ${report.downtimeMs} ms; ${everyThread(vm, 2)}`,
    };
  };
  const second = await run('migration by descriptor, to a second sandboxed QEMU', () => move(first, byFd, 1));
  const third = await run(`multifd migration over ${multifdChannels} connections that QEMU asked for itself`, () =>
    move(second.vm, byMultifd, multifdChannels),
  );

  const sandbox = third.vm.sandbox;
  await using forbidden = await listenSomewhere();
  for (const one of attempts(forbidden.port)) {
    await run(one.name, async () => ({ detail: describeRefusal(await attempt(sandbox, one)) }));
  }
  await run('the VM is alive, and nobody was reached', async () => {
    if (forbidden.connections() > 0) throw new Error('the port that was not granted was connected to');
    const from = third.vm.console.text.lastIndexOf('\n') + 1;
    const [line] = await third.vm.console.waitForLine(/ratchet-guest: tick \d+/, guestMs, from);
    const report = await sandbox.attest();
    if (!report.ok)
      throw new Error(report.mechanisms.map(({ name, state, reason }) => `${name} ${state}: ${reason}`).join('; '));
    return { detail: `${line}; ${report.threads.length} threads attested` };
  });
  const sealed = await run('sealed: the broker closed too', async () => {
    await sandbox.enter('sealed');
    const from = third.vm.console.text.lastIndexOf('\n') + 1;
    await third.vm.console.waitForLine(/ratchet-guest: tick \d+/, guestMs, from);
    return { status: await sandbox.status(), detail: everyThread(third.vm, 3) };
  });
  return { stages: describeStages(), status: sealed.status };
}

/** The VMs of the story, ended last to first whatever happened. */
class Running implements AsyncDisposable {
  readonly #vms: Promise<DemoVm>[] = [];

  add(starting: Promise<DemoVm>): Promise<DemoVm> {
    this.#vms.push(starting);
    return starting;
  }

  /** One that is still being started is waited for: nobody else would end it. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const result of (await Promise.allSettled(this.#vms)).toReversed())
      if (result.status === 'fulfilled') await result.value[Symbol.asyncDispose]();
  }
}

/** A Ctrl-C does not wait for the guest. */
async function untilAborted<T>(signal: AbortSignal, act: () => Promise<T>): Promise<T> {
  signal.throwIfAborted();
  const aborted = deferred<never>();
  const onAbort = (): void => aborted.reject(signal.reason);
  signal.addEventListener('abort', onAbort, { once: true });
  const acting = act();
  acting.catch(() => undefined);
  try {
    return await Promise.race([acting, aborted.promise]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}

/** Reads /proc rather than believing anyone; threads with a role have its filter too. @throws when a thread has fewer filters. */
function everyThread({ sandbox }: DemoVm, filters: number): string {
  const tasks = readTasks(sandbox.pid);
  const others = tasks.filter((task) => task.filters < filters + sandbox.inheritedFilters || task.mode !== 2);
  if (tasks.length === 0 || others.length > 0)
    throw new Error(`not every thread has at least ${filters} filters: ${JSON.stringify(others)}`);
  return `${tasks.length} threads, each with ${filters} filter${filters === 1 ? '' : 's or more'}`;
}

/** The guest's counter over both consoles. @throws when a number is missing or repeated. */
function unbrokenTicks(text: string): string {
  const ticks = guestTicks(text);
  const first = ticks[0];
  const last = ticks.at(-1);
  if (first === undefined || last === undefined) throw new Error('the guest did not count');
  const gap = ticks.findIndex((tick, index) => tick !== first + index);
  if (gap >= 0) throw new Error(`the guest's counter jumped from ${ticks[gap - 1]} to ${ticks[gap]}`);
  return `counter ${first} to ${last} without a gap`;
}

interface Listener extends AsyncDisposable {
  readonly port: number;
  readonly connections: () => number;
}

async function listenSomewhere(): Promise<Listener> {
  let connections = 0;
  const server: Server = createServer((socket) => {
    connections++;
    socket.destroy();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  return {
    port: typeof address === 'object' && address !== null ? address.port : 0,
    connections: () => connections,
    [Symbol.asyncDispose]: () => new Promise((resolve) => server.close(() => resolve())),
  };
}

function describeStages(): Story['stages'] {
  const profile = loadProfile('qemu', { arch: hostArch(), features: [] });
  return profile.stages.map(({ name, filter }, epoch) => ({
    stage: name,
    summary: summarizeFilter(filter),
    filtersPerThread: epoch + 1,
  }));
}
