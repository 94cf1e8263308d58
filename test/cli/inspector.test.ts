// SPDX-License-Identifier: Apache-2.0
// A VMM may send SIGUSR1 to processes of its user before Linux 6.12, and to Node that signal says: let whoever connects debug you.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { controlRequest } from '../../core/control/client.ts';
import type { SandboxStatus } from '../../core/launch/sandbox-status.ts';
import { waitFor } from '../launch/processes.ts';
import { bareVmm, startRatchet } from './ratchet.ts';

/** How many TCP sockets of this process listen. */
function listening(pid: number): number {
  const inodes = readdirSync(`/proc/${pid}/fd`)
    .map((fd) => /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${fd}`))?.[1])
    .filter((inode) => inode !== undefined);
  return ['tcp', 'tcp6']
    .flatMap((table) => readFileSync(`/proc/${pid}/net/${table}`, 'utf8').trim().split('\n').slice(1))
    .map((line) => line.trim().split(/\s+/))
    .filter(([, , , state, , , , , , inode = '']) => state === '0A' && inodes.includes(inode)).length;
}

test('SIGUSR1 opens no inspector, in the launcher and in the broker', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'ratchet-inspector-'));
  const control = join(folder, 'control');
  const launcher = startRatchet(['run', '--control', control, ...bareVmm]);
  const other = spawn(process.execPath, ['--inspect-port=0', '-e', 'console.log(1); setInterval(() => 1, 1000)']);
  try {
    const status = async () => (await controlRequest(control, 'status')) as SandboxStatus;
    await once(other.stdout, 'data');
    const { pid, broker } = await waitFor('a control socket', () => status().catch(() => undefined));
    for (const each of [launcher.pid, broker.pid, other.pid ?? 0]) process.kill(each, 'SIGUSR1');
    // Sent last: when its inspector is open, theirs would be.
    await once(other.stderr, 'data');
    expect(await status()).toMatchObject({ pid, broker: { pid: broker.pid } });
    expect(listening(other.pid ?? 0)).toBe(1);
    expect(listening(launcher.pid)).toBe(0);
    expect(listening(broker.pid)).toBe(0);
    expect(launcher.stderr()).not.toContain('Debugger');
  } finally {
    other.kill('SIGKILL');
    launcher.child.kill('SIGTERM');
    await launcher.ended;
    rmSync(folder, { recursive: true });
  }
});
