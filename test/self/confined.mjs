// SPDX-License-Identifier: Apache-2.0
// A Node program that confines itself, with a worker that was there before and one that is made after, and says what each of its threads may do.
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { Worker } from 'node:worker_threads';
import { enterSelf } from '../../dist/core/index.js';

const options = JSON.parse(process.argv[2]);
const probe = `
const { parentPort } = require('node:worker_threads');
const { readFileSync, mkdirSync } = require('node:fs');
const code = (attempt) => { try { attempt(); return 'ok'; } catch (error) { return error.code; } };
parentPort.on('message', ({ inside }) => parentPort.postMessage({
  inside: code(() => readFileSync(inside)),
  outside: code(() => readFileSync('/etc/hostname')),
  mkdir: code(() => mkdirSync(inside)),
}));
parentPort.postMessage('ready');`;

async function worker() {
  const made = new Worker(probe, { eval: true });
  await once(made, 'message');
  return {
    ask: async () => {
      made.postMessage({ inside: options.inside });
      return (await once(made, 'message'))[0];
    },
    end: () => made.terminate(),
  };
}

const codeOf = (error) => error.code ?? String(error);
const before = await worker();
const report = await enterSelf(options.enter);
const after = await worker();
const said = {
  stage: report.stage,
  mechanisms: Object.fromEntries(report.mechanisms.map(({ name, state }) => [name, state])),
  before: await before.ask(),
  after: await after.ask(),
  // By the thread pool.
  pool: {
    inside: await readFile(options.inside).then(() => 'ok', codeOf),
    outside: await readFile('/etc/hostname').then(() => 'ok', codeOf),
  },
  socket: await new Promise((resolve) => connect(1, '127.0.0.1').on('error', (error) => resolve(error.code))),
  threads: readdirSync('/proc/self/task').map((tid) => {
    const status = readFileSync(`/proc/self/task/${tid}/status`, 'utf8');
    return ['Seccomp', 'Seccomp_filters', 'NoNewPrivs', 'CapEff']
      .map((field) => new RegExp(`^${field}:\\s*(.*)$`, 'm').exec(status)[1])
      .join(' ');
  }),
};
for (const stage of options.afterwards ?? []) {
  const next = await enterSelf({ ...options.enter, stage }).catch((error) => error);
  said[stage] = { result: next.code ?? next.stage, before: await before.ask(), after: await after.ask() };
}
process.stdout.write(JSON.stringify(said));
await Promise.all([before.end(), after.end()]);
