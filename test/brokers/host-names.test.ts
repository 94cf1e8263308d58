// SPDX-License-Identifier: Apache-2.0
// A host name in a rule means what the launch found for it: nothing before, nothing else later, and never this host by another name.
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { expect, test } from 'vitest';
import { type LookUp, pinHosts } from '../../core/launch/pin-hosts.ts';
import { parseAddressRule, ruleContains } from '../../core/policy/address/index.ts';
import { profileOf } from './policy.ts';
import { startBroker } from './rig.ts';

const profile = profileOf({
  start: { rules: ['connect tcp:images.example.net:443', 'connect tcp:images.example.net:80-90'] },
});
const answering =
  (...addresses: readonly string[]): LookUp =>
  async () =>
    addresses;

test('is looked up once, and all of its addresses are kept', async () => {
  let asked = 0;
  const lookUp: LookUp = async (host) => {
    asked += 1;
    return host === 'images.example.net' ? ['2001:db8::7', '192.0.2.7', '192.0.2.7'] : [];
  };
  expect((await pinHosts(profile, lookUp)).hosts).toEqual({ 'images.example.net': ['192.0.2.7', '2001:db8::7'] });
  expect(asked).toBe(1);
  const none = profileOf({ start: { rules: ['connect tcp:192.0.2.1:1'] } });
  expect(await pinHosts(none, lookUp)).toBe(none);
});

test.each([
  ['this host', '127.0.0.1'],
  ['this host, in IPv6', '::1'],
  ['the wildcard', '0.0.0.0'],
  ['the metadata service', '169.254.169.254'],
  ['its link', 'fe80::1'],
  ['a group', '224.0.0.1'],
  ['all hosts', '255.255.255.255'],
  ['an IPv4 host by a mapped address', '::ffff:127.0.0.1'],
  ['an IPv4 host by NAT64', '64:ff9b::7f00:1'],
  ['no address', 'example'],
])('that leads to %s stops the launch', async (_, address) => {
  await expect(pinHosts(profile, answering('192.0.2.7', address))).rejects.toMatchObject({ code: 'ADDRESS_INVALID' });
});

test('that leads nowhere, or to very many, stops the launch with the rule that names it', async () => {
  await expect(pinHosts(profile, answering())).rejects.toThrow(/test\.yaml:1: the host name images\.example\.net/);
  await expect(
    pinHosts(profile, answering(...Array.from({ length: 17 }, (_, n) => `192.0.2.${n + 1}`))),
  ).rejects.toThrow(/17 addresses/);
  const failing: LookUp = () => Promise.reject(Object.assign(new Error('no such name'), { code: 'ENOTFOUND' }));
  await expect(pinHosts(profile, failing)).rejects.toMatchObject({ code: 'ADDRESS_INVALID', errno: 'ENOTFOUND' });
});

test('is served by the broker at both names of the host, and at no other address or port', async () => {
  const server = createServer((socket) => socket.destroy()).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const pinned = {
    ...profileOf({ start: { rules: [`connect tcp:images.example.net:${port}`] } }),
    hosts: { 'images.example.net': ['127.0.0.1'] },
  };
  await using broker = await startBroker(pinned);
  const { client } = broker;
  (await client.connect(`tcp:images.example.net:${port}`)).close();
  (await client.connect(`tcp:127.0.0.1:${port}`)).close();
  await expect(client.connect(`tcp:images.example.net:${port === 1 ? 2 : 1}`)).rejects.toMatchObject({
    code: 'REQUEST_REFUSED',
  });
  await expect(client.connect(`tcp:127.0.0.2:${port}`)).rejects.toMatchObject({ code: 'REQUEST_REFUSED' });
  await expect(client.connect(`tcp:other.example.net:${port}`)).rejects.toMatchObject({
    code: 'REQUEST_FAILED',
    errno: 'EINVAL',
  });
  server.close();
});

test('a refusing rule holds for the address that it leads to', async () => {
  const rules = ['connect tcp:images.example.net:443', '13 connect tcp:10.0.0.0/8:0-65535'];
  await using broker = await startBroker({
    ...profileOf({ start: { rules } }),
    hosts: { 'images.example.net': ['10.1.2.3'] },
  });
  await expect(broker.client.connect('tcp:images.example.net:443')).rejects.toMatchObject({
    code: 'REQUEST_REFUSED',
    errno: 'EACCES',
  });
});

test('contains itself, fewer ports of itself, and no number', () => {
  const contains = (wider: string, narrower: string): boolean =>
    ruleContains(parseAddressRule(wider), parseAddressRule(narrower));
  expect(contains('tcp:a.example:1-9', 'tcp:A.example:3')).toBe(true);
  expect(contains('tcp:a.example:1-9', 'tcp:b.example:3')).toBe(false);
  expect(contains('tcp:a.example:1-9', 'tcp:a.example:3-10')).toBe(false);
  expect(contains('tcp:0.0.0.0/0:0-65535', 'tcp:a.example:3')).toBe(false);
  expect(contains('tcp:a.example:3', 'tcp:192.0.2.1:3')).toBe(false);
});
