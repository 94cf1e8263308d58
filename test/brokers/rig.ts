// SPDX-License-Identifier: Apache-2.0
// A real broker process, and a program under a real filter whose calls it serves.
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { BrokerClient } from '../../core/broker/client.ts';
import {
  type BrokerEvent,
  brokerEnvironment,
  brokerNodeFlags,
  encodeConfinement,
  encodeProfile,
  journalBytes,
} from '../../core/broker/protocol.ts';
import { confinementFor } from '../../core/launch/broker-confinement.ts';
import { OwnedFd } from '../../core/owned-fd.ts';
import type { ResolvedProfile } from '../../core/policy/types.ts';
import { syscallNumber } from '../../core/tables/index.ts';
import { native } from '../../native/index.ts';
import { packagePath } from '../../native/package-path.ts';
import { nr, verdict } from '../native/assemble.ts';
import { buildProgram } from '../native/build-program.ts';
import { stage } from '../native/stage.ts';

export interface BrokerUnderTest {
  readonly child: ChildProcess;
  readonly pid: number;
  /** The launcher's end of the channel, before anything was read from it. */
  readonly channelFd: number;
  readonly exited: Promise<{ readonly code: number | null; readonly signal: string | null }>;
  readonly log: Promise<string>;
}

/** The process alone; the channel is the caller's. `within`: a command that starts it. */
export function spawnBroker(
  profile: ResolvedProfile,
  args: readonly string[] = [],
  { journal = newJournal(), within = [] }: { readonly journal?: OwnedFd; readonly within?: readonly string[] } = {},
): BrokerUnderTest {
  const [ours, theirs] = native.socketPair({ type: 'seqpacket' });
  using theirEnd = new OwnedFd(theirs);
  using memory = new OwnedFd(native.memfd({ name: 'profile', data: encodeProfile(profile), seal: true }));
  const own = confinementFor({ profile, ownedPaths: ownedBy(args), privilegedVmm: false, withoutLandlock: false });
  using confinement = new OwnedFd(native.memfd({ name: 'own', data: encodeConfinement(own), seal: true }));
  const command = [...within, process.execPath, ...brokerNodeFlags, packagePath('dist/brokers/main.js'), ...args];
  const child = spawn(command[0] as string, command.slice(1), {
    stdio: ['ignore', 'ignore', 'pipe', theirEnd.fd, memory.fd, confinement.fd, journal.fd],
    env: brokerEnvironment,
  });
  return {
    child,
    pid: child.pid as number,
    channelFd: ours,
    exited: new Promise((resolve) => child.on('close', (code, signal) => resolve({ code, signal }))),
    log: (async () => {
      let all = '';
      for await (const chunk of child.stderr as NodeJS.ReadableStream) all += String(chunk);
      return all;
    })(),
  };
}

export function newJournal(): OwnedFd {
  return new OwnedFd(native.memfd({ name: 'journal', data: new Uint8Array(journalBytes), seal: false }));
}

function ownedBy(args: readonly string[]): readonly string[] {
  return args.filter((_, index) => args[index - 1] === '--owns');
}

export interface ServedBroker extends BrokerUnderTest, AsyncDisposable {
  readonly client: BrokerClient;
  /** The first event that fits, from those not looked at before. */
  readonly event: (fits: (event: BrokerEvent) => boolean) => Promise<BrokerEvent>;
}

export async function startBroker(
  profile: ResolvedProfile,
  args: readonly string[] = [],
  within: readonly string[] = [],
  journal = newJournal(),
): Promise<ServedBroker> {
  const broker = spawnBroker(profile, args, { within, journal });
  const client = new BrokerClient(broker.channelFd);
  const events = client.events[Symbol.asyncIterator]();
  await client.ready();
  return {
    ...broker,
    client,
    event: async (fits) => {
      for (;;) {
        const { value, done } = await events.next();
        if (done === true) throw new Error('the events have ended');
        if (fits(value)) return value;
      }
    },
    [Symbol.asyncDispose]: async () => {
      client.close();
      await broker.exited;
    },
  };
}

export interface Victim {
  readonly pid: number;
  /** One command, and the next line it says. */
  readonly ask: (command: string) => Promise<string>;
  readonly tell: (command: string) => void;
  readonly line: () => Promise<string>;
  readonly end: () => Promise<void>;
}

const notifiedCalls = [
  ...['connect', 'bind', 'open', 'openat', 'openat2', 'creat', 'ptrace'],
  ...['access', 'faccessat', 'faccessat2', 'unlink', 'unlinkat', 'sendto'],
];

/** Starts test/native/programs/broker-victim.c with its calls notified, and gives its listener to the broker. */
export async function startVictim(client: BrokerClient): Promise<Victim> {
  const staged = stage({
    program: buildProgram('broker-victim'),
    argv: ['victim'],
    // As a VMM is started: a broker without capabilities may read from no process that has some.
    options: ['--drop-capabilities'],
    rules: [
      ...notifiedCalls.map((name) => ({ nr: syscallNumber('x86_64', name) as number, verdict: verdict.notify })),
      // Without flags: the stager hands the listener over by a sendmsg with MSG_NOSIGNAL, before anybody answers.
      { nr: nr.sendmsg, args: { 2: 0 }, verdict: verdict.notify },
    ],
  });
  const packet = await staged.packet();
  const listenerFd = packet?.fds[0];
  if (listenerFd === undefined) throw new Error(`no listener: ${JSON.stringify(packet?.report)}`);
  const lines = createInterface({ input: staged.child.stdout as NodeJS.ReadableStream })[Symbol.asyncIterator]();
  const line = async (): Promise<string> => {
    const { value, done } = await lines.next();
    if (done === true) throw new Error('the victim has ended');
    return value;
  };
  const tell = (command: string): void => {
    staged.child.stdin?.write(`${command}\n`);
  };
  let ended = false;
  await client.attachListener(new OwnedFd(listenerFd));
  if ((await line()) !== 'ready') throw new Error('the victim did not start');
  return {
    pid: staged.child.pid as number,
    line,
    tell,
    ask: (command) => {
      tell(command);
      return line();
    },
    end: async () => {
      if (ended) return;
      ended = true;
      staged.child.kill('SIGKILL');
      await staged.ended;
      staged.close();
    },
  };
}

/** A fresh directory, removed afterwards. */
export function scratch(): { readonly path: string; readonly [Symbol.dispose]: () => void } {
  const path = mkdtempSync(join(tmpdir(), 'ratchet-'));
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true }) };
}

export function fdCount(pid: number): number {
  return readdirSync(`/proc/${pid}/fd`).length;
}

export function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}
