// SPDX-License-Identifier: Apache-2.0
// node dist/test/bench/broker/soak.js [SECONDS]: both doors of one broker busy, and what it holds printed once a second at first and then once in ten: memory of its own (RssAnon) and
// descriptors. Ends with 1 when either grew in the second half.
import { readdirSync, readFileSync } from 'node:fs';
import { print } from '../../../core/cli/output.ts';
import { OwnedFd } from '../../../core/owned-fd.ts';
import { profileOf } from '../../brokers/policy.ts';
import { type ServedBroker, scratch, startBroker, startVictim, type Victim } from '../../brokers/rig.ts';

export interface Sample {
  readonly seconds: number;
  readonly rssAnonKb: number;
  readonly fds: number;
  readonly calls: number;
}

/** Requests and calls of all kinds for so long; samples as they come. */
export async function* soak(seconds: number): AsyncGenerator<Sample> {
  using folder = scratch();
  const { path } = folder;
  const rules = [
    `open ${path}/**`,
    `bind unix:${path}/*`,
    `connect unix:${path}/*`,
    'connect tcp:127.0.0.1:1',
    'bind tcp:127.0.0.1:0',
  ];
  const notified = { kind: 'broker' } as const;
  const actions = { connect: notified, bind: notified, openat: notified, access: notified, unlink: notified };
  await using broker = await startBroker(profileOf({ start: { rules }, running: { rules, actions } }));
  const victim = await startVictim(broker.client);
  await broker.client.enterStage(1);
  const begun = performance.now();
  let calls = 0;
  let nextSample = 0;
  try {
    for (let elapsed = 0; elapsed < seconds; elapsed = (performance.now() - begun) / 1000) {
      calls += await round(broker, victim, path);
      if (elapsed < nextSample) continue;
      nextSample = elapsed < 20 ? elapsed + 1 : elapsed + 10;
      yield { seconds: elapsed, calls, ...held(broker.pid) };
    }
  } finally {
    await victim.end();
  }
}

/** One of each, granted and refused, at either door. */
async function round(broker: ServedBroker, victim: Victim, folder: string): Promise<number> {
  const { client } = broker;
  const outcomes = await Promise.allSettled([
    client.open(`${folder}/made`, 'rw', { create: true }),
    client.open(`${folder}/made`),
    client.open('/etc/passwd'),
    client.bind('tcp:127.0.0.1:0', { backlog: 1 }),
    client.connect('tcp:127.0.0.1:1'),
    client.connect('tcp:192.0.2.1:1'),
    client.status(),
  ]);
  for (const outcome of outcomes)
    if (outcome.status === 'fulfilled' && outcome.value instanceof OwnedFd) outcome.value.close();
  const address = `unix:${folder}/socket`;
  const listening = await client.bind(address, { backlog: 8 });
  (await client.connect(address)).close();
  listening.close();
  await victim.ask(`open 0 0 ${folder}/made`);
  await victim.ask(`access 4 ${folder}/made`);
  await victim.ask('open 0 0 /etc/passwd');
  await victim.ask(`unlink 0 ${folder}/socket`);
  return outcomes.length + 6;
}

function held(pid: number): { readonly rssAnonKb: number; readonly fds: number } {
  const rss = /^RssAnon:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  return { rssAnonKb: Number(rss), fds: readdirSync(`/proc/${pid}/fd`).length };
}

async function main(seconds: number): Promise<void> {
  const samples: Sample[] = [];
  for await (const sample of soak(seconds)) {
    samples.push(sample);
    const { rssAnonKb, fds, calls } = sample;
    print(
      `${sample.seconds.toFixed(0).padStart(5)} s  ${calls} calls  RssAnon ${(rssAnonKb / 1024).toFixed(1)} MB  ${fds} fds`,
    );
  }
}

if (process.argv[1]?.endsWith('soak.js') === true) await main(Number(process.argv[2] ?? 600));
