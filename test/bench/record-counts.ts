// SPDX-License-Identifier: Apache-2.0
// `node dist/test/bench/record-counts.js [NAME...]`: records the calls of a real, unconfined QEMU by strace, one file a scenario under
// test/bench/recordings, and adds those under TCG up to profiles/qemu.counts.json. Runs in a network namespace of its own.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { setTimeout as passed } from 'node:timers/promises';
import { addCounts, countCalls, type RecordedCall } from '../../core/compiler/count-calls.ts';
import type { CountsDocument } from '../../core/compiler/counts.ts';
import { demoDisk } from '../../core/demo/demo-disk.ts';
import { buildGuest, guestArguments } from '../../core/demo/guest.ts';
import { GuestConsole } from '../../core/demo/guest-console.ts';
import { inOwnNetwork } from '../../core/demo/own-network.ts';
import { parseStraceLine } from '../../core/learn/strace.ts';
import { OwnedFd } from '../../core/owned-fd.ts';
import { readCounts, writeCounts } from '../../core/profile-counts.ts';
import { loadProfile } from '../../core/profile-files.ts';
import { prepareArguments } from '../../core/qemu/arguments.ts';
import { Qemu } from '../../core/qemu/qemu.ts';
import { native } from '../../native/index.ts';
import { packagePath } from '../../native/package-path.ts';
import { directFdSource } from '../qemu/direct-fd-source.ts';

const guestMs = 120_000;

interface Scenario {
  readonly what: string;
  readonly tcg: boolean;
  run(rig: Rig): Promise<void>;
}

const scenarios: Readonly<Record<string, Scenario>> = {
  boot: {
    what: 'QEMU under TCG boots Linux up to the first line of its program',
    tcg: true,
    async run(rig) {
      const vm = await rig.start(rig.guest);
      await vm.qemu.cont();
      await vm.console.waitForLine(/ratchet-guest: tick/, guestMs);
    },
  },
  tick: {
    what: 'QEMU under TCG boots Linux and runs it for 8 seconds more, in which it prints a line each tenth of a second',
    tcg: true,
    async run(rig) {
      const vm = await rig.start(rig.guest);
      await vm.qemu.cont();
      await vm.console.waitForLine(/ratchet-guest: tick/, guestMs);
      await passed(8000);
    },
  },
  devices: {
    what: 'two QEMUs under TCG: boot, a NIC, a disk that is read and written and a vCPU plugged in by descriptor, migration by descriptor and back over four channels',
    tcg: true,
    run: devices,
  },
  kvm: {
    what: 'QEMU under KVM runs its firmware without anything to boot for 5 seconds',
    tcg: false,
    async run(rig) {
      const vm = await rig.start([
        '-no-user-config',
        '-nodefaults',
        '-machine',
        'pc,accel=kvm',
        '-m',
        '64',
        '-display',
        'none',
      ]);
      await vm.qemu.cont();
      await passed(5000);
    },
  },
};

async function devices(rig: Rig): Promise<void> {
  const disk = join(rig.folder, 'disk.img');
  writeFileSync(disk, demoDisk());
  const mac = '52:54:00:12:34:56';
  const plug = async ({ qemu }: TracedVm): Promise<void> => {
    await qemu.hotplug.addDisk({ id: 'disk1', path: disk, pciAddress: '06' });
    await qemu.hotplug.addCpu({ id: 'cpu1' });
  };
  const first = await rig.start(rig.guest);
  await first.qemu.cont();
  await first.console.waitForLine(/ratchet-guest: tick/, guestMs);
  await first.qemu.hotplug.addNic({ id: 'nic1', tap: 'ratchet%d', mac, pciAddress: '05' });
  await first.console.waitForLine(/ratchet-guest: nic /, guestMs);
  await plug(first);
  await first.console.waitForLine(/ratchet-guest: disk-wrote/, guestMs);
  await first.console.waitForLine(/ratchet-guest: cpus 2/, guestMs);
  await first.qemu.hotplug.removeNic('nic1');
  await first.console.waitForLine(/ratchet-guest: nic-gone/, guestMs);
  let from = first;
  for (const channels of [1, 4]) {
    const to = await rig.start([...rig.guest, '-incoming', 'defer']);
    await plug(to);
    const address = `tcp:127.0.0.1:${4440 + channels}`;
    const incoming = await to.qemu.acceptMigration(address, { channels });
    await from.qemu.migrate(address, { channels });
    await incoming.completed;
    await to.console.waitForLine(/^ratchet-guest: tick \d+$/, guestMs, to.console.text.indexOf('\n') + 1);
    from = to;
  }
}

interface TracedVm {
  readonly qemu: Qemu;
  readonly console: GuestConsole;
}

/** Starts QEMUs under strace and keeps what it wrote. */
class Rig implements AsyncDisposable {
  readonly folder = mkdtempSync(join(tmpdir(), 'ratchet-record-'));
  readonly guest: readonly string[];
  readonly #stops: (() => Promise<void>)[] = [];
  /** When each QEMU was built, in seconds since 1970: where a launcher enters the second stage. */
  readonly #built: number[] = [];
  /** Of threads that have one, when their QEMU ended. */
  readonly #roles = new Map<number, string>();

  constructor(guest: readonly string[]) {
    this.guest = guest;
  }

  async start(args: readonly string[]): Promise<TracedVm> {
    const [ours, theirs] = native.socketPair({ type: 'stream' });
    using monitor = new OwnedFd(theirs);
    const index = this.#built.push(Number.POSITIVE_INFINITY) - 1;
    const child = spawn(
      'strace',
      [
        ...['-f', '-qq', '-ttt', '-e', 'raw=all', '-o', this.#trace(index)],
        ...['qemu-system-x86_64', ...prepareArguments(args, { qmpFd: 3 }).args],
      ],
      { stdio: ['ignore', 'pipe', 'inherit', monitor.fd] },
    );
    monitor.close();
    const qemu = new Qemu(
      ours,
      directFdSource(async (name) => {
        const tap = native.createTap({ name, flags: 0x0002 | 0x1000 | 0x4000 });
        native.setInterfaceUp({ name: tap.name, up: true });
        return { fd: new OwnedFd(tap.fd), name: tap.name };
      }),
    );
    const ended = once(child, 'close');
    this.#stops.push(async () => {
      for (const [tid, role] of await qemu.threadRoles()) if (role !== 'main') this.#roles.set(tid, role);
      await qemu.quit();
      await ended;
      qemu.close();
    });
    await qemu.waitUntilBuilt(guestMs);
    this.#built[index] = Date.now() / 1000;
    return { qemu, console: new GuestConsole(child.stdout as Readable) };
  }

  /** Ends the QEMUs; all that they called, in the order of the traces. */
  async calls(): Promise<readonly RecordedCall[]> {
    for (const stop of this.#stops.splice(0)) await stop();
    return this.#built.flatMap((built, index) => {
      const lines = readFileSync(this.#trace(index), 'utf8').split('\n');
      return lines.flatMap((line): RecordedCall | [] => {
        const call = parseStraceLine(line);
        if (call?.tid === undefined || call.at === undefined) return [];
        const { tid, at, name, args } = call;
        return { name, args, stage: at < built ? 'start' : 'running', role: this.#roles.get(tid) };
      });
    });
  }

  #trace(index: number): string {
    return join(this.folder, `trace-${index}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const stop of this.#stops.splice(0)) await stop();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

async function record(name: string, scenario: Scenario, guest: readonly string[]): Promise<CountsDocument> {
  const profile = loadProfile('qemu');
  await using rig = new Rig(guest);
  await scenario.run(rig);
  const calls = await rig.calls();
  const recorded = `strace of Debian's QEMU, unconfined: ${scenario.what}`;
  const document = countCalls(calls, { profile, recorded });
  writeCounts(recordingFile(name), document);
  process.stdout.write(`${name}: ${calls.length} calls of ${Object.keys(document.syscalls).length} kinds\n`);
  return document;
}

function recordingFile(name: string): string {
  return packagePath(`test/bench/recordings/${name}.json`);
}

if ((await inOwnNetwork()) === undefined) {
  const wanted = process.argv.slice(2);
  const guest = guestArguments(await buildGuest({ cacheFolder: packagePath('.cache') }));
  for (const [name, scenario] of Object.entries(scenarios))
    if (wanted.length === 0 || wanted.includes(name)) await record(name, scenario, guest);
  const tcg = Object.entries(scenarios).filter(([, scenario]) => scenario.tcg);
  writeCounts(
    packagePath('profiles/qemu.counts.json'),
    addCounts(
      tcg.map(([name]) => readCounts(recordingFile(name))),
      `the sum of test/bench/recordings: ${tcg.map(([name]) => name).join(', ')}; each call weighs the same`,
    ),
  );
}
