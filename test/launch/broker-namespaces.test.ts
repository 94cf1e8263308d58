// SPDX-License-Identifier: Apache-2.0
import { existsSync, readdirSync, readlinkSync, writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { brokerNamespaces, namesInProc } from '../../core/launch/broker-namespaces.ts';
import { scratch } from '../brokers/rig.ts';
import { launchBare, nextEvent } from './bare.ts';
import { makeCall } from './make-call.ts';

test('a broker that is to have namespaces of its own has them in every thread, serves both doors, and so does the next one', async () => {
  using folder = scratch();
  const file = `${folder.path}/file`;
  writeFileSync(file, 'x');
  await using vm = await launchBare([], { brokerNamespaces, allow: [{ request: 'open', target: file }] });
  const look = async (): Promise<void> => {
    const { pid } = (await vm.status()).broker;
    for (const kind of Object.values(namesInProc))
      for (const tid of readdirSync(`/proc/${pid}/task`))
        expect(readlinkSync(`/proc/${pid}/task/${tid}/ns/${kind}`)).not.toBe(readlinkSync(`/proc/self/ns/${kind}`));
    // Nothing of how it was started stays with it.
    expect(readlinkSync(`/proc/${pid}/exe`)).toBe(process.execPath);
    expect(existsSync(`/proc/${pid}/fd/16383`)).toBe(false);
    const { ok, mechanisms } = await vm.attest();
    expect(ok).toBe(true);
    expect(mechanisms).toContainEqual(expect.objectContaining({ name: 'broker-namespaces', state: 'enforced' }));
    expect(mechanisms).toContainEqual(expect.objectContaining({ name: 'broker-seccomp', state: 'enforced' }));
    (await vm.open(file, 'rw')).close();
    const fd = await makeCall({ pid: vm.pid, tid: vm.pid }, 'open', [file, 0]);
    expect(fd).toBeGreaterThan(0);
  };
  await look();
  const replaced = nextEvent(vm, (event) => event.type === 'broker' && event['what'] === 'replaced');
  process.kill((await vm.status()).broker.pid, 'SIGKILL');
  await replaced;
  await look();
});

test('a network of its own is refused to one that connects, and nothing is started', async () => {
  const allow = [{ request: 'connect', target: 'tcp:127.0.0.1:1' }] as const;
  await expect(launchBare([], { brokerNamespaces: ['net'], allow })).rejects.toMatchObject({
    code: 'ARGUMENT_INVALID',
    message: expect.stringContaining('--allow:1: connect tcp:127.0.0.1:1 has no meaning'),
  });
});

test('without root the launch says so', async () => {
  const { geteuid } = process;
  process.geteuid = () => 1000;
  try {
    await expect(launchBare([], { brokerNamespaces: ['ipc'] })).rejects.toMatchObject({
      code: 'KERNEL_UNSUPPORTED',
      errno: 'EPERM',
    });
  } finally {
    if (geteuid !== undefined) process.geteuid = geteuid;
  }
});
