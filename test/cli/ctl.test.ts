// SPDX-License-Identifier: Apache-2.0
// `ratchet ctl` and the help of every command, as processes, against one running VM.
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { controlRequest } from '../../core/control/client.ts';
import { waitFor } from '../launch/processes.ts';
import { type Answer, bareVmm, ratchet, ratchetAsync, type Started, startRatchet } from './ratchet.ts';

const folder = mkdtempSync(join(tmpdir(), 'ratchet-ctl-'));
const control = join(folder, 'vm.ctl');
const arriving = join(folder, 'arriving.ctl');
const image = join(folder, 'disk.img');
const migration = `unix:${join(folder, 'migrate.sock')}`;
let vms: Started[];

beforeAll(async () => {
  writeFileSync(image, Buffer.alloc(64 * 1024));
  const grants = [`open=${image}`, `connect=${migration}`, `bind=${migration}`, 'tap=ratchet%d'];
  const start = (path: string, extra: readonly string[]): Started =>
    startRatchet(
      [
        'run',
        '--control',
        path,
        ...grants.flatMap((grant) => ['--allow', grant]),
        '--may-grant',
        'connect=tcp:127.0.0.1:3-5',
        ...bareVmm,
        '-smp',
        '1,maxcpus=2',
        ...extra,
      ],
      // A tap device of the machine's own network is nothing for a test.
      ['unshare', '--net', '--'],
    );
  vms = [start(control, []), start(arriving, ['-incoming', 'defer'])];
  for (const path of [control, arriving]) {
    await waitFor('the control socket', () => existsSync(path));
    await controlRequest(path, 'status');
  }
});
afterAll(async () => {
  for (const vm of vms) {
    vm.child.kill('SIGTERM');
    await vm.ended;
  }
  rmSync(folder, { recursive: true });
});

function ctl(...args: readonly string[]): Answer {
  return ratchet('ctl', control, ...args);
}

/** Exactly one JSON value on stdout, and nothing on stderr. */
function json(answer: Answer): unknown {
  expect(answer).toMatchObject({ status: 0, stderr: '' });
  expect(answer.stdout.trimEnd().split('\n')).toHaveLength(1);
  return JSON.parse(answer.stdout);
}

describe('ratchet ctl', () => {
  test('status', () => {
    expect(json(ctl('status', '--json'))).toMatchObject({
      pid: expect.any(Number),
      vmm: 'qemu-system-x86_64',
      stage: 'running',
      stages: ['start', 'running', 'sealed'],
      threads: expect.arrayContaining([
        { tid: expect.any(Number), name: expect.any(String), role: 'main', filters: expect.any(Number) },
      ]),
      broker: { pid: expect.any(Number), alive: true, allowed: expect.any(Number), denied: expect.any(Number) },
      grants: expect.arrayContaining([expect.objectContaining({ request: 'open', target: image })]),
    });
    expect(ctl('status').stdout).toMatch(/^qemu-system-x86_64, pid \d+, stage start > \[running\] > sealed\n.*alive/);
  });

  test('attest', () => {
    expect(json(ctl('attest', '--json'))).toMatchObject({
      pid: expect.any(Number),
      stage: 'running',
      ok: true,
      mechanisms: expect.arrayContaining([{ name: 'seccomp', state: 'enforced', reason: expect.any(String) }]),
      threads: expect.arrayContaining([
        expect.objectContaining({
          role: 'main',
          mode: 2,
          programs: [
            { stage: 'start', sha256: expect.any(String) },
            { stage: 'running', sha256: expect.any(String) },
          ],
        }),
      ]),
    });
    expect(ctl('attest').stdout).toMatch(/as it should be\nMECHANISM/);
  });

  test('disk, nic and cpu are plugged and unplugged', () => {
    for (const path of [control, arriving]) {
      // The destination of a migration has the same devices at the same places.
      expect(
        json(ratchet('ctl', path, 'disk', 'add', '--id', 'disk1', '--path', image, '--read-only', '--json')),
      ).toBeTypeOf('object');
      expect(json(ratchet('ctl', path, 'cpu', 'add', '--json'))).toBeTypeOf('object');
    }
    expect(json(ctl('nic', 'add', '--id', 'nic1', '--tap', 'ratchet%d', '--json'))).toMatchObject({ tap: 'ratchet0' });
  });

  test('migrate, and accept on the other side', async () => {
    expect(json(await ratchetAsync('ctl', arriving, 'accept', migration, '--json'))).toEqual({
      listening: migration,
      channels: 1,
    });
    const refused = ctl('migrate', 'unix:/nowhere/at.all');
    expect(refused).toMatchObject({
      status: 1,
      stdout: '',
      stderr: expect.stringMatching(/refused by the profile.*to permit it/),
    });
  });

  test('grant add, list and revoke, within what may be granted', () => {
    const target = 'tcp:127.0.0.1:4';
    const added = json(ctl('grant', 'add', `connect=${target}`, '--uses', '1', '--for', '60', '--json'));
    expect(added).toEqual({ grant: expect.any(Number) });
    const { grant } = added as { readonly grant: number };
    const shown = expect.objectContaining({ grant, request: 'connect', target, usesLeft: 1, throughStage: 'running' });
    expect(json(ctl('grant', 'list', '--json'))).toMatchObject({
      grants: expect.arrayContaining([shown]),
      mayGrant: [{ request: 'connect', target: 'tcp:127.0.0.1:3-5' }],
    });
    expect(json(ctl('status', '--json'))).toMatchObject({ grants: expect.arrayContaining([shown]) });
    expect(ctl('grant', 'list').stdout).toMatch(
      /connect\s+tcp:127\.0\.0\.1:4\s+1 uses left, \d+ s left, through running/,
    );
    // Granted now, and nobody is there (its network is an empty one).
    expect(ctl('nic', 'add', '--id', 'nic2', '--connect', target).stderr).toMatch(/ECONNREFUSED|ENETUNREACH/);
    expect(ctl('grant', 'revoke', String(grant))).toMatchObject({ status: 0, stdout: 'revoked\n' });
    expect(ctl('grant', 'revoke', String(grant))).toMatchObject({ status: 2, stdout: '' });
    expect(ctl('grant', 'add', 'connect=tcp:127.0.0.1:10')).toMatchObject({
      status: 1,
      stderr: expect.stringContaining('may-grant'),
    });
    expect(ctl('grant', 'add', 'nonsense')).toMatchObject({ status: 2 });
  });

  test('what the broker refuses is an error with the line that would permit it', () => {
    const refused = ctl('disk', 'add', '--id', 'disk2', '--path', '/etc/shadow');
    expect(refused).toMatchObject({ status: 1, stdout: '' });
    expect(refused.stderr).toMatch(/^ratchet: .*\/etc\/shadow.*refused by the profile.*grant: \["\/etc\/shadow"\]/);
  });

  test('events, one JSON object a line', async () => {
    const events = startRatchet(['ctl', control, 'events']);
    // Until the first line comes there is nothing to see of its subscription: ask again for something that is told.
    await waitFor('an event', () => {
      ctl('migrate', 'tcp:127.0.0.1:9');
      return events.stdout().includes('\n');
    });
    events.child.kill('SIGTERM');
    await events.ended;
    const [first = ''] = events.stdout().split('\n');
    expect(JSON.parse(first)).toMatchObject({
      time: expect.any(String),
      type: 'refusal',
      stage: 'running',
      syscall: 'connect',
      args: { address: 'tcp:127.0.0.1:9' },
      errno: 'EACCES',
      rule: null,
      fix: expect.stringContaining('tcp:127.0.0.1:9'),
      tid: expect.any(Number),
      thread: expect.any(String),
    });
  });

  test('stage, forward only', () => {
    expect(ctl('stage', 'runing')).toMatchObject({
      status: 2,
      stderr: expect.stringContaining('it has start, running, sealed'),
    });
    expect(ctl('stage', 'start')).toMatchObject({ status: 2, stderr: expect.stringContaining('stages only tighten') });
    expect(json(ctl('stage', 'sealed', '--json'))).toMatchObject({ stage: 'sealed', ok: true });
    expect(json(ctl('status', '--json'))).toMatchObject({ stage: 'sealed', grants: [] });
    expect(ctl('disk', 'add', '--id', 'disk3', '--path', image)).toMatchObject({ status: 1 });
  });

  test.each([
    ['', /missing required argument/],
    ['stauts', /unknown command 'stauts'/],
    ['status --jsn', /unknown option '--jsn'/],
    ['status extra', /too many arguments/],
    ['stage', /missing required argument 'name'/],
    ['nic', /Commands:/],
    ['nic plug', /unknown command 'plug'/],
    ['nic add', /--id/],
    ['nic add --id x', /give either --tap NAME or --connect ADDR/],
    ['nic add --id x --tap a --connect tcp:127.0.0.1:1', /give either/],
    ['nic add --id x --connect nonsense', /nonsense/],
    ['disk add --id x', /--path/],
    ['disk add --id x --path /tmp/x --format vmdk', /format/],
    ['disk del', /--id/],
    ['migrate', /missing required argument 'address'/],
    ['migrate tcp:1.2.3.4:1 --channels many', /channels/],
    ['migrate tcp:1.2.3.4:1 --channels 0', /channels/],
    ['migrate carrier-pigeon:1', /carrier-pigeon/],
  ])('misuse is 2, with the reason: ctl PATH %s', (text, words) => {
    const answer = ctl(...text.split(' ').filter(Boolean));
    expect(answer.stderr).toMatch(words);
    expect(answer).toMatchObject({ status: 2, stdout: '' });
    expect(answer.stderr).not.toContain('bug in ratchet');
  });

  test('nobody answers: which path, and what to give', () => {
    expect(ratchet('ctl', join(folder, 'nobody.ctl'), 'status')).toMatchObject({
      status: 1,
      stderr: expect.stringMatching(/^ratchet: no sandbox answers on .*nobody\.ctl \(ENOENT\) - give the path/),
    });
    expect(ratchet('ctl', image, 'status')).toMatchObject({
      status: 1,
      stderr: expect.stringContaining('ECONNREFUSED'),
    });
  });
});

describe('help', () => {
  const everyCommand = [
    '', 'run', 'ctl', 'check', 'explain', 'diff', 'compile', 'demo', 'ctl PATH',
    ...['status', 'stage', 'attest', 'cont', 'quit', 'nic', 'nic add', 'nic del', 'disk', 'disk add', 'disk del', 'cpu', 'cpu add', 'migrate', 'accept', 'events'].map((name) => `ctl PATH ${name}`),
  ]; // biome-ignore format: a list

  test.each(everyCommand.map((text) => [text]))('of `ratchet %s` says how it is used and exits with 0', (text) => {
    const answer = ratchet(...text.split(' ').filter(Boolean), '--help');
    expect(answer).toMatchObject({ status: 0, stderr: '' });
    expect(answer.stdout).toMatch(/^Usage: ratchet/);
    // Something is explained beyond the options themselves.
    expect(answer.stdout.length).toBeGreaterThan(100);
  });

  test('no command, or an unknown one, is misuse', () => {
    expect(ratchet()).toMatchObject({ status: 2, stdout: '' });
    expect(ratchet('rnu')).toMatchObject({
      status: 2,
      stderr: expect.stringMatching(/unknown command 'rnu'.*Did you mean run/s),
    });
  });
});
