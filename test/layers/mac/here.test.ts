// SPDX-License-Identifier: Apache-2.0
// Labels where the kernel does not enforce them. Of AppArmor and SELinux one at most is on, so one is off wherever this runs.
import { afterEach, describe, expect, it } from 'vitest';
import { parseGroup } from '../../../core/group/parse-group.ts';
import { launchVmm } from '../../../core/launch/launch.ts';
import type { Sandbox } from '../../../core/launch/sandbox.ts';
import { macLack } from '../../../core/layers/mac.ts';
import type { LayerOptions } from '../../../core/layers/plan.ts';
import type { Mac } from '../../../core/policy/index.ts';
import type { Vmm } from '../../../core/vmm/vmm.ts';
import { assemble, oneExecOnly } from '../../native/assemble.ts';
import { stage } from '../../native/stage.ts';
import { programProfile } from '../program-profile.ts';

const apparmor: Mac = { apparmor: 'ratchet-none' };
const selinux: Mac = { selinux: 'system_u:system_r:ratchet_t:s0' };
const off = macLack(apparmor) === undefined ? selinux : apparmor;

let sandbox: Sandbox<Vmm> | undefined;
afterEach(async () => {
  // Alone in its pid namespace, it does not hear SIGTERM.
  await sandbox?.kill();
  sandbox = undefined;
});

async function start(layers: LayerOptions, ofProfile?: Mac): Promise<Sandbox<Vmm>> {
  const profile = programProfile('qemu-storage-daemon');
  sandbox = await launchVmm({
    command: ['/bin/cat'],
    profile:
      ofProfile === undefined ? profile : { ...profile, layers: { ...(profile.layers as object), mac: ofProfile } },
    stdio: ['pipe', 'ignore', 'pipe'],
    layers,
  });
  return sandbox;
}

const group = (mac: string) =>
  parseGroup(`version: 1\nname: g\nmembers:\n  a:\n    command: [swtpm]\n    layers: { mac: ${mac} }\n`, {
    file: 'g.yaml',
  });

describe('a label that the kernel does not enforce', () => {
  it('stops the launch, whether the profile or the launcher asks for it', async () => {
    const refused = { code: 'KERNEL_UNSUPPORTED', message: expect.stringContaining('the layer mac cannot be made') };
    await expect(start({ mac: off })).rejects.toMatchObject(refused);
    await expect(start({}, off)).rejects.toMatchObject(refused);
  });

  it.each([
    ['was declared optional', { optional: ['mac'] }, macLack(off)],
    ['was left out', { without: ['mac'] }, 'the launcher left it out'],
  ] as const)('is told as absent when it %s', async (_, layers, reason) => {
    const { mechanisms } = await (await start(layers, off)).attest();
    expect(mechanisms.find(({ name }) => name === 'mac')).toEqual({ name: 'mac', state: 'absent', reason });
  });

  it('is refused by the kernel when the stager asks all the same', async () => {
    const words = off === apparmor ? ['--mac', 'apparmor:ratchet-none'] : ['--mac', `selinux:${selinux.selinux}`];
    const staged = stage({ program: '/bin/true', argv: ['true'], options: words, filter: assemble(oneExecOnly) });
    expect((await staged.packet())?.report.step).toBe('mac');
    await staged.ended;
    staged.close();
  });
});

describe('a label', () => {
  it('of a member is the group file’s to give', () => {
    const [member] = group('{ apparmor: ratchet-swtpm }').members;
    expect(member?.layers?.mac).toEqual({ apparmor: 'ratchet-swtpm' });
  });

  it.each([
    ['{}', 'is either `apparmor: NAME` or `selinux: CONTEXT`'],
    ['{ apparmor: a, selinux: "u:r:t" }', 'is either `apparmor: NAME` or `selinux: CONTEXT`'],
    ['{ apparmor: "a\\nb" }', 'is no name of an AppArmor profile'],
    ['{ apparmor: " a" }', 'is no name of an AppArmor profile'],
    ['{ selinux: svirt_t }', 'is no SELinux context'],
  ])('%s is refused with its place', (mac, message) => {
    expect(() => group(mac)).toThrow(message);
    expect(() => group(mac)).toThrow(/^g\.yaml:6:/m);
  });

  it.each(['', 'ratchet-none', 'smack:x', ':x', 'apparmor:'])('"%s" is no label for the stager', async (word) => {
    const staged = stage({ program: '/bin/true', argv: ['true'], options: ['--mac', word] });
    expect((await staged.packet())?.report).toEqual({ step: 'arguments', errno: 22 });
    await staged.ended;
    staged.close();
  });
});
