// SPDX-License-Identifier: Apache-2.0
// The demo as a user starts it: what it prints, two at a time, and what an interruption leaves.
import { readdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { describe, expect, test } from 'vitest';
import { type Answer, type Started, startRatchet } from '../cli/ratchet.ts';
import { childrenOf, commandLine, Pinned, waitFor } from '../launch/processes.ts';

interface Told {
  readonly ok: boolean;
  readonly steps: readonly {
    readonly name: string;
    readonly ok: boolean;
    readonly ms: number;
    readonly detail: string;
  }[];
}

function lastLine({ stdout }: Answer): Told {
  return JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '') as Told;
}

function leftFiles(): readonly string[] {
  return readdirSync(tmpdir()).filter((name) => name.startsWith('ratchet-demo-'));
}

/** All processes below a process, itself included. */
function family(pid: number): readonly number[] {
  return [pid, ...childrenOf(pid).flatMap(family)];
}

describe('the demo', () => {
  test('tells the whole story twice at the same time, and leaves nothing', async () => {
    const files = leftFiles();
    const demos = [startRatchet(['demo', '--json']), startRatchet(['demo', '--json'])];
    for (const answer of await Promise.all(demos.map(({ ended }) => ended))) {
      const told = lastLine(answer);
      expect(told.steps.filter(({ ok }) => !ok)).toEqual([]);
      expect(answer).toMatchObject({ status: 0, stderr: '' });
      expect(told.ok).toBe(true);
      for (const step of told.steps)
        expect(step).toEqual({
          name: expect.any(String),
          ok: true,
          ms: expect.any(Number),
          detail: expect.any(String),
        });
      const names = told.steps.map(({ name }) => name).join('\n');
      for (const part of [
        'start',
        'running',
        'boots',
        'NIC',
        'disk',
        'vCPU',
        'migration by descriptor',
        'multifd',
        'not granted',
        'exec:',
        'HMP',
        'alive',
        'sealed',
      ])
        expect(names).toContain(part);
    }
    expect(leftFiles()).toEqual(files);
  });

  test.each(['SIGINT', 'SIGTERM'] as const)('leaves nothing after %s in the middle', async (signal) => {
    const files = leftFiles();
    const demo = await inTheMiddle();
    const pinned = family(demo.pid).map((pid) => new Pinned(pid));
    // Ctrl-C goes to all of them, SIGTERM to the one that was started.
    process.kill(signal === 'SIGINT' ? -demo.pid : demo.pid, signal);
    const answer = await demo.ended;
    expect(answer.status).toBe(signal === 'SIGINT' ? 130 : 143);
    expect(answer.stderr).not.toContain('bug in ratchet');
    expect(lastLine(answer).ok).toBe(false);
    for (const process of pinned) await process.end();
    expect(leftFiles()).toEqual(files);
  });

  test('leaves nothing when it is killed: the processes that it started, and the disk image', async () => {
    const files = leftFiles();
    const demo = await inTheMiddle();
    const pids = family(demo.pid);
    const pinned = pids.map((pid) => new Pinned(pid));
    process.kill(demo.pid, 'SIGKILL');
    for (const process of pinned) await process.end();
    expect(leftFiles()).toEqual(files);
  });

  test('leaves nothing when the launcher of its VMs is killed', async () => {
    const files = leftFiles();
    const demo = await inTheMiddle();
    const pinned = family(demo.pid).map((pid) => new Pinned(pid));
    const [launcher = 0] = childrenOf(demo.pid);
    process.kill(launcher, 'SIGKILL');
    expect(await demo.ended).toMatchObject({ status: 137 });
    for (const process of pinned) await process.end();
    expect(leftFiles()).toEqual(files);
  });
});

/** A demo whose first QEMU runs. */
async function inTheMiddle(): Promise<Started> {
  const demo = startRatchet(['demo', '--json'], [], { detached: true });
  await waitFor('its QEMU under a filter of its own', () => {
    if (demo.child.exitCode !== null) throw new Error(`the demo ended: ${demo.stderr()}`);
    return family(demo.pid).some((pid) => isTightened(pid));
  });
  return demo;
}

function isTightened(pid: number): boolean {
  try {
    return (
      commandLine(pid).startsWith('qemu-system') &&
      /^Seccomp_filters:\s*[1-9]/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))
    );
  } catch {
    // It ended while we looked.
    return false;
  }
}
