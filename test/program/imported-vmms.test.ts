// SPDX-License-Identifier: Apache-2.0
// The profiles of VMMs that cannot be had here: a program with their C library lives under each and is tightened on its way.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, describe, expect, test } from 'vitest';
import { launchVmm } from '../../core/launch/launch.ts';
import { packagePath } from '../../native/package-path.ts';
import { ratchet } from '../cli/ratchet.ts';

const folder = mkdtempSync(join(tmpdir(), 'ratchet-vmms-'));
afterAll(() => rmSync(folder, { recursive: true }));

async function action(profile: string, stage: string, ...call: readonly string[]): Promise<string> {
  const { stdout } = await ratchet('explain', profile, '--stage', stage, '--json', ...call);
  return (JSON.parse(stdout) as { readonly action: string }).action;
}

describe.each(['firecracker', 'cloud-hypervisor'])('%s', (profile) => {
  test('starts a program and tightens it', { timeout: 60_000 }, async () => {
    const program = join(folder, profile);
    execFileSync('musl-gcc', ['-static', '-O1', '-o', program, packagePath('test/evidence/libc-work.c')]);
    await using sandbox = await launchVmm({
      command: [program, join(folder, 'none'), join(folder, 'none')],
      profile,
      until: 'start',
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const lines = createInterface({ input: sandbox.stdout })[Symbol.asyncIterator]();
    expect((await lines.next()).value).toBe('built ok');
    await sandbox.enter('running');
    expect((await sandbox.attest()).ok).toBe(true);
  });

  test('runs vCPUs, reaches others through the broker only, and starts nothing', async () => {
    expect(await action(profile, 'running', 'ioctl', 'request=KVM_RUN')).toBe('allow');
    expect(await action(profile, 'running', 'connect')).toBe('broker');
    expect(await action(profile, 'running', 'openat')).toBe('broker');
    expect(await action(profile, 'running', 'mmap', 'prot=PROT_EXEC')).toBe('errno');
    expect(await action(profile, 'running', 'execve')).toBe('errno');
    expect(await action(profile, 'running', 'ioctl', 'request=TUNSETIFF')).toBe('errno');
  });
});
