// SPDX-License-Identifier: Apache-2.0
// Generated wishes and rules: both doors answer the same.
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { RatchetError } from '../../core/errors.ts';
import { addressToSockaddr, parseAddress } from '../../core/policy/address/index.ts';
import { profileOf } from './policy.ts';
import { hex, type ServedBroker, scratch, startBroker, startVictim, type Victim } from './rig.ts';

const directory = scratch();
const brokered = { kind: 'broker' } as const;
// Few values, so that wishes and rules meet often. The ports are where nobody listens.
const hosts = ['127.0.0.1', '127.0.0.2', '127.1.0.1', '0.0.0.0', '[::1]', '[::ffff:127.0.0.1]', '[::]', '[::7f00:1]'];
const names = ['a', 'ab', 'b.sock', 'b', 'c/d'];

let broker: ServedBroker;
let victim: Victim;

beforeAll(async () => {
  const rules = [
    ...['connect tcp:127.0.0.0/16:1-3', '111 connect tcp:127.0.0.2:2', 'connect tcp:[::1]:1', 'connect tcp:[::/0]:3'],
    ...['bind tcp:127.0.0.1:0', 'bind tcp:[::1]:0', '98 bind tcp:127.0.0.2:0-3'],
    ...[
      `connect unix:${directory.path}/a*`,
      `2 connect unix:${directory.path}/ab`,
      `connect unix:${directory.path}/c/**`,
    ],
    ...['connect unix-abstract:ratchet-a', 'bind unix-abstract:ratchet-b', 'connect vsock:1:1'],
  ];
  broker = await startBroker(profileOf({ start: { rules, actions: { connect: brokered, bind: brokered } } }));
  victim = await startVictim(broker.client);
});
afterAll(async () => {
  await victim.end();
  await broker[Symbol.asyncDispose]();
  directory[Symbol.dispose]();
});

const address = fc.oneof(
  fc.tuple(fc.constantFrom(...hosts), fc.integer({ min: 0, max: 4 })).map(([host, port]) => `tcp:${host}:${port}`),
  fc.constantFrom(...names).map((name) => `unix:${directory.path}/${name}`),
  fc.constantFrom('a', 'b', 'a\\x00', 'aa').map((name) => `unix-abstract:ratchet-${name}`),
  fc.tuple(fc.integer({ min: 0, max: 3 }), fc.integer({ min: 0, max: 2 })).map(([cid, port]) => `vsock:${cid}:${port}`),
);

async function explicit(request: 'connect' | 'bind', text: string): Promise<string> {
  try {
    (await broker.client[request](text)).close();
    return 'ok';
  } catch (error) {
    return (error as RatchetError).errno ?? String(error);
  }
}

async function transparent(request: 'connect' | 'bind', text: string): Promise<string> {
  const bytes = addressToSockaddr(parseAddress(text));
  return await victim.ask(`${request} ${bytes[0] as number} 1 0 ${hex(bytes)}`);
}

test('any address gets the same verdict and the same result at both doors', async () => {
  const seen = new Set<string>();
  await fc.assert(
    fc.asyncProperty(address, async (text) => {
      // A privileged port or a name that is bound stays the victim's: bind only what leaves nothing behind.
      const requests = /^tcp:.*:0$/.test(text) ? (['connect', 'bind'] as const) : (['connect'] as const);
      for (const request of requests) {
        const answers = [await explicit(request, text), await transparent(request, text)];
        expect(answers[1], `${request} ${text}`).toBe(answers[0]);
        seen.add(String(answers[0]));
      }
    }),
    // One wish for each kind of answer, whatever the draw; a connection over vsock takes its whole time where nobody answers.
    {
      numRuns: 120,
      examples: [['tcp:127.0.0.1:0'], ['tcp:127.0.0.1:1'], ['tcp:127.0.0.2:2'], [`unix:${directory.path}/a`]],
    },
  );
  expect([...seen]).toEqual(expect.arrayContaining(['EACCES', 'ECONNREFUSED', 'ENOENT', 'ok']));
});
