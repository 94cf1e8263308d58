// SPDX-License-Identifier: Apache-2.0
// Connections by either door, ours and a minimal C program's. All processes of one run share a CPU: to wake an idle one costs more than any broker does, and C as much as us.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { BrokerClient } from '../../../core/broker/client.ts';
import { OwnedFd } from '../../../core/owned-fd.ts';
import { syscallNumber } from '../../../core/tables/index.ts';
import { native } from '../../../native/index.ts';
import { profileOf } from '../../brokers/policy.ts';
import { type BrokerUnderTest, scratch, spawnBroker } from '../../brokers/rig.ts';
import { verdict } from '../../native/assemble.ts';
import { buildProgram } from '../../native/build-program.ts';
import { type Staged, stage } from '../../native/stage.ts';

export type Target = 'unix' | 'tcp';

export interface Run {
  /** Microseconds, one a connection. */
  readonly took: readonly number[];
  readonly perSecond: number;
}

export interface Load {
  readonly target: Target;
  /** How many addresses are asked for in turn. */
  readonly addresses: number;
  readonly count: number;
  /** Connections before those whose time is taken. */
  readonly warmUp?: number;
  /** Requests that wait at one time, at the explicit door. */
  readonly outstanding?: number;
}

const usualWarmUp = 3000;
const tcpPort = 47_123;

/** connect(2) itself. */
export async function direct(load: Load): Promise<Run> {
  using folder = scratch();
  return await finished(start(argumentsOf('calls', load, folder.path), []));
}

/** peers/broker.c behind a socket pair. */
export async function explicitByC(load: Load): Promise<Run> {
  using folder = scratch();
  const [ours, theirs] = native.socketPair({ type: 'seqpacket' });
  const broker = spawn(build('broker'), [String(load.addresses)], { stdio: ['ignore', 'ignore', 'inherit', theirs] });
  const gone = once(broker, 'exit');
  const asking = start(argumentsOf('struct', load, folder.path), [ours]);
  native.closeFd({ fd: ours });
  native.closeFd({ fd: theirs });
  const run = await finished(asking);
  await gone;
  return run;
}

/** Our broker, asked by the same program. */
export async function explicitByUs(load: Load): Promise<Run> {
  using folder = scratch();
  const broker = ourBroker(folder.path);
  const asking = start(argumentsOf('msgpack', load, folder.path), [broker.channelFd]);
  native.closeFd({ fd: broker.channelFd });
  const run = await finished(asking);
  await broker.exited;
  return run;
}

/** peers/supervisor.c behind a listener. */
export async function transparentByC(load: Load): Promise<Run> {
  using folder = scratch();
  const staged = notified(argumentsOf('calls', load, folder.path));
  const listener = await listenerOf(staged);
  const supervisor = spawn(build('supervisor'), { stdio: ['ignore', 'ignore', 'inherit', listener.fd] });
  listener.close();
  const run = await finished(staged.child, staged);
  const gone = once(supervisor, 'exit');
  supervisor.kill('SIGKILL');
  await gone;
  return run;
}

/** Our broker behind a listener. */
export async function transparentByUs(load: Load): Promise<Run> {
  using folder = scratch();
  const broker = ourBroker(folder.path);
  const client = new BrokerClient(broker.channelFd);
  await client.ready();
  const staged = notified(argumentsOf('calls', load, folder.path));
  await client.attachListener(await listenerOf(staged));
  const run = await finished(staged.child, staged);
  client.close();
  await broker.exited;
  return run;
}

function ourBroker(folder: string): BrokerUnderTest {
  const rules = [`connect unix:${folder}/*`, `connect tcp:127.0.0.0/16:${tcpPort}`];
  return spawnBroker(profileOf({ start: { rules, actions: { connect: { kind: 'broker' } } } }), [], {
    within: ['taskset', '-c', '0'],
  });
}

function notified(args: readonly string[]): Staged {
  return stage({
    program: build('load'),
    argv: ['load', ...args],
    options: ['--drop-capabilities'],
    rules: [{ nr: syscallNumber('x86_64', 'connect') as number, verdict: verdict.notify }],
  });
}

async function listenerOf(staged: Staged): Promise<OwnedFd> {
  const packet = await staged.packet();
  if (packet?.fds[0] === undefined) throw new Error(`no listener: ${JSON.stringify(packet?.report)}`);
  return new OwnedFd(packet.fds[0]);
}

function build(name: string): string {
  return buildProgram(name, 'test/bench/peers');
}

function argumentsOf(kind: 'calls' | 'struct' | 'msgpack', load: Load, folder: string): readonly string[] {
  const target = load.target === 'unix' ? `unix:${join(folder, 'listener')}` : `tcp:${tcpPort}`;
  const { addresses, count, warmUp = usualWarmUp, outstanding = 1 } = load;
  return [kind, target, ...[addresses, count, warmUp, outstanding].map(String)];
}

function start(args: readonly string[], fds: readonly number[]): ChildProcess {
  return spawn(build('load'), args, { stdio: ['ignore', 'pipe', 'inherit', ...fds] });
}

async function finished(child: ChildProcess, staged?: Staged): Promise<Run> {
  const ended = staged?.ended ?? once(child, 'close').then(([code]) => ({ code: code as number | null }));
  const text = staged === undefined ? await read(child) : await staged.stdout;
  const { code } = await ended;
  if (code !== 0) throw new Error(`the load ended with ${code}: ${staged === undefined ? '' : await staged.stderr}`);
  const lines = text.trimEnd().split('\n');
  const whole = Number(lines.pop()?.split(' ')[1]) / 1e9;
  return { took: lines.map((line) => Number(line) / 1000), perSecond: lines.length / whole };
}

async function read(child: ChildProcess): Promise<string> {
  let all = '';
  for await (const chunk of child.stdout ?? []) all += String(chunk);
  return all;
}
