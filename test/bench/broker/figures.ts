// SPDX-License-Identifier: Apache-2.0
// Suite `broker`: what a brokered connection costs at either door, beside a minimal C program doing the same, and what a broker weighs.
import { readFileSync } from 'node:fs';
import { profileOf } from '../../brokers/policy.ts';
import { type ServedBroker, startBroker } from '../../brokers/rig.ts';
import { atMost, exact, type Figure, type Goal, measured, quantile } from '../figure.ts';
import { direct, explicitByC, explicitByUs, type Load, type Run, transparentByC, transparentByUs } from './doors.ts';
import { soak } from './soak.ts';

const rounds = 3;
const rateRounds = 9;
const soakSeconds = 15;

export async function benchBroker(): Promise<readonly Figure[]> {
  return [
    ...(await door('explicit', explicitByC, explicitByUs)),
    ...(await door('transparent', transparentByC, transparentByUs)),
    ...(await throughput()),
    ...(await memory()),
    ...(await growth()),
  ];
}

/** Asked for in turn: fewer than the broker has flows for, and more than it remembers having seen. */
const addresses = { known: 8, everNew: 300 };

type Runner = (load: Load) => Promise<Run>;

/** Ours and the peer take turns, so that what else the machine does falls on both. */
async function door(name: string, byC: Runner, byUs: Runner): Promise<readonly Figure[]> {
  const figures: Figure[] = [];
  for (const target of ['unix', 'tcp'] as const) {
    const load: Load = { target, addresses: addresses.known, count: 4000 };
    const everNew: Load = { target, addresses: addresses.everNew, count: 1000, warmUp: 300 };
    // As many as are told one by one in the trail before a flood is only counted.
    const told: Load = { target, addresses: addresses.known, count: 150, warmUp: 2 * addresses.known };
    const kernel: number[] = [];
    const peer: number[] = [];
    const ours: number[] = [];
    const ofNew: number[] = [];
    const ofTold: number[] = [];
    for (let round = 0; round < rounds; round += 1) {
      kernel.push(...(await direct(load)).took);
      peer.push(...(await byC(load)).took);
      ours.push(...(await byUs(load)).took);
      ofNew.push(...(await byUs(everNew)).took);
      for (let part = 0; part < 4; part += 1) ofTold.push(...(await byUs(told)).took);
    }
    const ratio = (share: number): number => quantile(ours, share) / quantile(peer, share);
    figures.push(
      ...(name === 'explicit' ? [measured(`connect(2) itself, ${target}`, 'us', kernel)] : []),
      measured(`C, ${name} connect, ${target}`, 'us', peer),
      measured(`${name} connect, ${target}`, 'us', ours, {
        against: { name: `C, ${name}`, samples: peer },
        goal: atMost(2.5, ratio(0.5), 'times C'),
      }),
    );
    const against = { name: `C, ${name}`, samples: peer };
    figures.push(
      measured(`${name} connect, ${target}, each told`, 'us', ofTold, { against }),
      measured(`${name} connect, ${target}, ever new`, 'us', ofNew, { against }),
    );
    if (name === 'transparent')
      figures.push(
        exact(`${name} connect, ${target}, p99`, 'times C', ratio(0.99), {
          goal: atMost(4, ratio(0.99)),
          n: ours.length,
        }),
      );
  }
  return figures;
}

async function throughput(): Promise<readonly Figure[]> {
  const load: Load = { target: 'unix', addresses: addresses.known, count: 3000, outstanding: 32 };
  const peer: number[] = [];
  const ours: number[] = [];
  // A rate is the clock's, so what else the machine does in a round falls on all of it: many short ones, in turns.
  for (let round = 0; round < rateRounds; round += 1) {
    peer.push((await explicitByC(load)).perSecond);
    ours.push((await explicitByUs(load)).perSecond);
  }
  return [
    measured('C, 32 outstanding', 'requests/s', peer),
    measured('explicit, 32 outstanding', 'requests/s', ours, {
      against: { name: 'C', samples: peer },
      goal: atLeast(0.5, quantile(ours, 0.5) / quantile(peer, 0.5), 'times C'),
    }),
  ];
}

/** What is a broker's own, and what fifty of them share. Idle ones, that have said hello. */
async function memory(): Promise<readonly Figure[]> {
  const vms = 50;
  const brokers: ServedBroker[] = [];
  try {
    const profile = profileOf({ start: { rules: ['open /etc/hostname:ro'] } });
    for (let vm = 0; vm < vms; vm += 1) brokers.push(await startBroker(profile));
    const each = brokers.map(({ pid }) => rollup(pid, ['Private_Clean', 'Private_Dirty']));
    const together = brokers.reduce((sum, { pid }) => sum + rollup(pid, ['Pss']), 0);
    return [
      measured('memory of its own, idle', 'MB', each),
      exact(`${vms} brokers together`, 'MB', together, { n: vms }),
    ];
  } finally {
    await Promise.all(brokers.map((broker) => broker[Symbol.asyncDispose]()));
  }
}

async function growth(): Promise<readonly Figure[]> {
  const samples = [];
  for await (const sample of soak(soakSeconds)) samples.push(sample);
  const fds = samples.map((sample) => sample.fds);
  const most = Math.max(...samples.map(({ rssAnonKb }) => rssAnonKb)) / 1024;
  const calls = samples.at(-1)?.calls ?? 0;
  return [
    exact('RssAnon at most, busy', 'MB', most, { n: calls, goal: atMost(48, most, 'MB') }),
    exact('descriptors gained, busy', 'fds', (fds.at(-1) ?? 0) - (fds[1] ?? 0), {
      n: calls,
      goal: atMost(0, (fds.at(-1) ?? 0) - (fds[1] ?? 0)),
    }),
  ];
}

/** Megabytes, from /proc/PID/smaps_rollup. */
function rollup(pid: number, fields: readonly string[]): number {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
  const kilobytes = (field: string): number => Number(new RegExp(`^${field}:\\s+(\\d+)`, 'm').exec(text)?.[1]);
  return fields.reduce((sum, field) => sum + kilobytes(field), 0) / 1024;
}

function atLeast(limit: number, value: number, unit: string): Goal {
  return { text: `>= ${limit} ${unit}`, met: value >= limit };
}
