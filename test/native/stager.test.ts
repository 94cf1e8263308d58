// SPDX-License-Identifier: Apache-2.0

import { spawnSync } from 'node:child_process';
import { mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ownFilterCount } from '../../core/stages/tasks.ts';
import { native } from '../../native/index.ts';
import { assemble, type FilterRule, nr, oneExecOnly, verdict } from './assemble.ts';
import { buildProgram } from './build-program.ts';
import { readable } from './fds.ts';
import { type Packet, type Staged, stage, stagerPath, stageWith } from './stage.ts';

const errno = { EPERM: 1, ENOENT: 2, ESRCH: 3, E2BIG: 7, EBADF: 9, EACCES: 13, EINVAL: 22, ENOSYS: 38 } as const;

let probe: string;
let outside: string;
let folder: string;

beforeAll(() => {
  probe = buildProgram('probe');
  outside = buildProgram('under-filter');
  folder = mkdtempSync(join(tmpdir(), 'ratchet-stager-'));
});

afterAll(() => rmSync(folder, { recursive: true }));

describe('what the program finds after exec', () => {
  it('has exactly the kept fds, whatever else was inherited', async () => {
    const extra = [0, 0, 0, 0].map(() => openSync('/dev/null', 'r'));
    expect(await answers(stage({ program: probe, argv: ['probe', 'fds'], keep: '7,0,1,5', fds: extra }))).toBe(
      '0,1,5,7\n',
    );
    expect(await answers(stage({ program: probe, argv: ['probe', 'fds'], keep: '1', fds: extra }))).toBe('1\n');
    for (const fd of extra) native.closeFd({ fd });
  });

  it('may have none', async () => {
    const staged = stage({ program: '/bin/true', argv: ['true'], keep: '' });
    await answers(staged);
    expect(await staged.ended).toEqual({ code: 0, signal: null });
  });

  it('keeps its arguments and environment', async () => {
    process.env.MARK = 'here';
    expect(await answers(stage({ program: probe, argv: ['a name', 'environment'] }))).toBe('argv0 a name MARK here\n');
  });

  it('cannot execute anything again', async () => {
    const text = await answers(stage({ program: probe, argv: ['probe', 'execute'] }));
    // The last is allowed by the filter, for there is no such fd.
    expect(text).toBe('execve EPERM\nexecveat EPERM\nexecveat-path EPERM\nexecveat-16383 EBADF\n');
  });

  it('cannot have an fd of the number 16383 again, although it is root', async () => {
    const text = await answers(
      stage({ program: probe, argv: ['probe', 'regain'], options: ['--rlimit', 'NOFILE=16383:16383'] }),
    );
    expect(text).toBe(
      'dup2 EBADF\ndup3 EBADF\nF_DUPFD EINVAL\nprlimit EPERM\nsetrlimit EPERM\nlast-dup 16382 EMFILE\n',
    );
  });

  it('has the limits that were asked for, and never more than 16383 fds', async () => {
    const limits = (...options: string[]) => answers(stage({ program: probe, argv: ['probe', 'limits'], options }));
    expect(await limits('--rlimit', 'CORE=0:4096', '--rlimit', 'NOFILE=512:1024')).toBe(
      'NOFILE 512 1024\nCORE 0 4096\n',
    );
    expect(await limits('--rlimit', 'NOFILE=1024:unlimited', '--rlimit', 'CORE=unlimited:unlimited')).toMatch(
      /^NOFILE 1024 16383\nCORE 18446744073709551615 /,
    );
    const shell = ['-c', 'ulimit -Sn 300; ulimit -Hn 16384; exec "$@"', 'sh', ...minimal('limits')];
    expect(await answers(stageWith('/bin/sh', shell, start(), []))).toMatch(/^NOFILE 300 16383\n/);
  });

  it('has the rulesets of later stages where no other fd can come', async () => {
    const options = [
      '--ruleset',
      '16380:4',
      '--ruleset-path',
      '4:/usr',
      '--ruleset',
      '16379:4',
      '--rlimit',
      'NOFILE=512:20000',
    ];
    const text = await answers(stage({ program: probe, argv: ['probe', 'fds', 'limits', 'regain'], options }));
    expect(text).toMatch(/^0,1,2,16379,16380\nNOFILE 512 16379\n/);
    expect(text).toMatch(/^last-dup 511 EMFILE$/m);
  });

  it('has no_new_privs, one filter, and signals as if nobody had touched them', async () => {
    const quoted = ['-c', 'trap "" TERM USR1 HUP; exec "$@"', 'sh', ...minimal('status')];
    const status = fields(await answers(stageWith('/bin/sh', quoted, start(), [])));
    expect(status).toMatchObject({ NoNewPrivs: '1', Seccomp: '2', Seccomp_filters: '1' });
    expect(status).toMatchObject({ SigBlk: '0000000000000000', SigIgn: '0000000000000000' });
  });

  it('has no capability after --drop-capabilities, as uid 0', async () => {
    const dropped = fields(
      await answers(stage({ program: probe, argv: ['probe', 'status'], options: ['--drop-capabilities'] })),
    );
    const none = '0000000000000000';
    expect(dropped).toMatchObject({ CapInh: none, CapPrm: none, CapEff: none, CapBnd: none, CapAmb: none });
    const kept = fields(await answers(stage({ program: probe, argv: ['probe', 'status'] })));
    expect(kept.CapEff).not.toBe(none);
  });

  it('has none either when the stager had none to drop', async () => {
    const args = ['--bounding-set', '-all', '--inh-caps', '-all', '--', ...minimal('status', ['--drop-capabilities'])];
    const status = fields(await answers(stageWith('/usr/bin/setpriv', args, start(), [])));
    expect(status).toMatchObject({ CapPrm: '0000000000000000', CapBnd: '0000000000000000' });
  });
});

describe('the status socket', () => {
  it('carries the listener, which answers the program', async () => {
    const staged = stage({
      program: probe,
      argv: ['probe', 'call-value'],
      rules: [{ nr: nr.getppid, verdict: verdict.notify }],
    });
    const listenerFd = await listenerOf(staged);
    expect(await staged.packet()).toBeUndefined();
    await readable(listenerFd);
    const notification = native.receiveNotification({ listenerFd });
    expect(notification).toMatchObject({ nr: nr.getppid, tid: staged.child.pid, auditArch: 0xc000003e });
    native.answerNotification({ listenerFd, id: notification?.id ?? 0n, answer: { kind: 'value', value: 4711n } });
    expect(await staged.stdout).toBe('getppid 4711\n');
    native.closeFd({ fd: listenerFd });
    staged.close();
  });

  it('says filter, without fds, with --no-listener', async () => {
    const staged = stage({ program: probe, argv: ['probe', 'fds'], options: ['--no-listener'] });
    expect(await staged.packet()).toEqual({ report: { step: 'filter', signalScope: false }, fds: [] });
    expect(await staged.packet()).toBeUndefined();
    expect(await staged.stdout).toBe('0,1,2\n');
    staged.close();
  });

  it('says the same with --no-filter, and none is on', async () => {
    const options = ['--status-fd', '3', '--keep', '0,1,2', '--no-filter', '--exec', '/bin/cat', '--'];
    const staged = stageWith(stagerPath, [...options, 'cat', '/proc/self/status'], new Uint8Array(8), []);
    expect(await staged.packet()).toEqual({ report: { step: 'filter', signalScope: false }, fds: [] });
    expect(await staged.packet()).toBeUndefined();
    expect(await staged.stdout).toMatch(new RegExp(`^Seccomp_filters:\\t${ownFilterCount()}$`, 'm'));
    staged.close();
  });

  it('says that a kernel has no WAIT_KILLABLE_RECV', async () => {
    const waitKillableAndListener = (1 << 5) | (1 << 3);
    const staged = underFilter(
      [],
      [{ nr: nr.seccomp, args: { 1: waitKillableAndListener }, verdict: verdict.errno(errno.EINVAL) }],
    );
    const packet = await staged.packet();
    expect(packet?.report).toEqual({ step: 'listener', waitKillable: false, signalScope: false });
    for (const fd of packet?.fds ?? []) native.closeFd({ fd });
    expect(await staged.packet()).toBeUndefined();
    await staged.ended;
    staged.close();
  });

  it('tells of a failed exec after the listener', async () => {
    const script = join(folder, 'script');
    writeFileSync(script, '#!/bin/sh\n', { mode: 0o755 });
    const plain = join(folder, 'plain');
    writeFileSync(plain, 'text', { mode: 0o644 });
    for (const [program, number] of [
      [script, errno.ENOENT],
      [plain, errno.EACCES],
    ] as const) {
      const staged = stage({ program, argv: ['x'] });
      native.closeFd({ fd: await listenerOf(staged) });
      expect((await staged.packet())?.report).toEqual({ step: 'exec', errno: number });
      expect(await staged.packet()).toBeUndefined();
      expect(await staged.ended).toEqual({ code: 127, signal: null });
      staged.close();
    }
  });

  it('being closed by the launcher stops the stager', async () => {
    const afterLine = ['-c', 'read line; exec "$@"', 'sh', ...minimal('fds')];
    const staged = stageWith('/bin/sh', afterLine, start(), []);
    staged.close();
    staged.child.stdin?.end('\n');
    expect(await staged.ended).toEqual({ code: 127, signal: null });
    expect(await staged.stdout).toBe('');
    expect(await staged.stderr).toContain('"step":"listener","errno":32');
  });
});

describe('each step that fails is named with its errno', () => {
  const failsWith = async (staged: Staged, step: string, number: number) => {
    expect((await staged.packet())?.report).toEqual({ step, errno: number });
    expect(await staged.packet()).toBeUndefined();
    expect(await staged.ended).toEqual({ code: 127, signal: null });
    expect(await staged.stdout).toBe('');
    staged.close();
  };
  const run = (options: readonly string[] = [], filter?: Uint8Array) =>
    stage({ program: probe, argv: ['probe', 'fds'], options, ...(filter === undefined ? {} : { filter }) });

  it.each([
    ['an unknown option', ['--nice', '3']],
    ['an unknown flag', ['--nice']],
    ['an unknown limit', ['--rlimit', 'NOFILES=1:2']],
    ['a limit without its hard half', ['--rlimit', 'CORE=1']],
    ['a soft limit above the hard', ['--rlimit', 'CORE=2:1']],
    ['a negative limit', ['--rlimit', 'CORE=-1:1']],
    ['a limit with more behind it', ['--rlimit', 'CORE=1:1x']],
    ['a limit given twice', ['--rlimit', 'CORE=1:1', '--rlimit', 'CORE=1:1']],
    ['a flag given twice', ['--no-listener', '--no-listener']],
    ['no filter and a filter', ['--no-filter']],
    ['no filter and no listener', ['--no-filter', '--no-listener']],
    ['a second --keep', ['--keep', '0']],
    ['parent pid 0', ['--parent-pid', '0']],
    ['a parent pid that is no number', ['--parent-pid', '1 ']],
    ['a second status fd', ['--status-fd', '3']],
    ['a ruleset above the one before', ['--ruleset', '16379:4', '--ruleset', '16380:4']],
    ['a ruleset of the program’s own number', ['--ruleset', '16383:4']],
    ['a ruleset among the kept fds', ['--ruleset', '1:4']],
    ['a path of no ruleset', ['--ruleset-path', '4:/usr']],
    ['a path that is not absolute', ['--ruleset', '16380:4', '--ruleset-path', '4:usr']],
  ])('arguments: %s', async (_, options) => failsWith(run(options), 'arguments', errno.EINVAL));

  it.each(['0,', ',0', '0,,1', 'x', '0,0', '-1', '16383', '3', '4', '0 1'])('arguments: --keep "%s"', async (keep) =>
    failsWith(stage({ program: probe, argv: ['probe'], keep }), 'arguments', errno.EINVAL),
  );

  it('arguments: those that must be there', () => {
    const complete = ['--status-fd', '3', '--filter-fd', '4', '--keep', '0', '--exec', '/bin/true', '--', 'true'];
    for (const missing of [0, 2, 4, 6]) {
      const args = complete.filter((_, index) => index !== missing && index !== missing + 1);
      const { status, stderr } = spawnSync(stagerPath, args, { encoding: 'utf8' });
      expect(status).toBe(127);
      expect(stderr).toContain(`missing: ${complete[missing]}`);
    }
    expect(spawnSync(stagerPath, complete.slice(0, -1), { encoding: 'utf8' }).stderr).toContain('missing: -- ARGV0');
    expect(spawnSync(stagerPath, complete.slice(0, -2), { encoding: 'utf8' }).stderr).toContain('missing: -- ARGV0');
  });

  it('filter-read: not open, empty, uneven, too long', async () => {
    const base = ['--status-fd', '3', '--filter-fd', '9', '--keep', '0', '--exec', probe, '--', 'probe'];
    await failsWith(stageWith(stagerPath, base, start(), []), 'filter-read', errno.EBADF);
    await failsWith(run([], Buffer.alloc(0)), 'filter-read', errno.EINVAL);
    await failsWith(run([], Buffer.alloc(15)), 'filter-read', errno.EINVAL);
    await failsWith(run([], Buffer.alloc(4097 * 8)), 'filter-read', errno.E2BIG);
  });

  it('parent: another one than was said', async () => failsWith(run(['--parent-pid', '1']), 'parent', errno.ESRCH));

  it('keep: an fd that is not open', async () =>
    failsWith(stage({ program: probe, argv: ['probe'], keep: '0,1,2,77' }), 'keep', errno.EBADF));

  it('exec-open: a program that is not there', async () =>
    failsWith(stage({ program: join(folder, 'nothing'), argv: ['x'] }), 'exec-open', errno.ENOENT));

  it('exec-fd: a hard limit that cannot be raised', async () => {
    const shell = [
      '-c',
      'ulimit -n 16383; exec "$@"',
      'sh',
      '/usr/bin/setpriv',
      '--bounding-set',
      '-all',
      '--inh-caps',
      '-all',
    ];
    await failsWith(stageWith('/bin/sh', [...shell, ...minimal('fds')], start(), []), 'exec-fd', errno.EPERM);
  });

  it('rulesets: a path that is not there', async () =>
    failsWith(run(['--ruleset', '16380:4', '--ruleset-path', '4:/nothing']), 'rulesets', errno.ENOENT));

  it('filter: a program that the kernel refuses', async () =>
    failsWith(run([], Buffer.alloc(8)), 'filter', errno.EINVAL));

  it('filter: a supervisor that is there already', async () => {
    const EBUSY = 16;
    await failsWith(underFilter([], [], ['listener']), 'filter', EBUSY);
  });

  // Calls that never fail for a root process, made to fail by an outer filter.
  const coreLimit = 4;
  const dropBounding = 24;
  const noNewPrivileges = 38;
  it.each<[string, number, FilterRule]>([
    ['parent', errno.EINVAL, { nr: nr.prctl, args: { 0: 1 }, verdict: verdict.errno(errno.EINVAL) }],
    ['signals', errno.EACCES, { nr: nr.rtSigaction, args: { 0: 33 }, verdict: verdict.errno(errno.EACCES) }],
    ['signals', errno.EACCES, { nr: nr.rtSigprocmask, args: { 0: 2 }, verdict: verdict.errno(errno.EACCES) }],
    ['exec-fd', errno.EACCES, { nr: nr.dup3, verdict: verdict.errno(errno.EACCES) }],
    [
      'rlimit',
      errno.EPERM,
      { nr: nr.prlimit64, args: { 1: coreLimit }, notZero: [2], verdict: verdict.errno(errno.EPERM) },
    ],
    ['fds', errno.ENOSYS, { nr: nr.closeRange, verdict: verdict.errno(errno.ENOSYS) }],
    ['capabilities', errno.EPERM, { nr: nr.prctl, args: { 0: dropBounding }, verdict: verdict.errno(errno.EPERM) }],
    [
      'no-new-privs',
      errno.EINVAL,
      { nr: nr.prctl, args: { 0: noNewPrivileges }, verdict: verdict.errno(errno.EINVAL) },
    ],
    ['filter', errno.EPERM, { nr: nr.seccomp, verdict: verdict.errno(errno.EPERM) }],
  ])('%s: errno %i from the kernel', async (step, number, rule) => {
    const inner = ['--rlimit', 'CORE=0:0', '--drop-capabilities', '--parent-pid', String(process.pid)];
    await failsWith(underFilter(inner, [rule]), step, number);
  });
});

describe('the end of the parent', () => {
  it.each([[[]], [['--drop-capabilities']]])('kills the program (%s)', async (options) => {
    const args = ['3', '4', ...options, '--parent-pid', 'PARENT', '--exec', probe, '--', 'probe', 'pause'];
    const script = `"${stagerPath}" --status-fd $1 --filter-fd $2 --keep 1 ${args
      .slice(2)
      .join(' ')
      .replace('PARENT', () => '$$')} & wait`;
    const staged = stageWith('/bin/sh', ['-c', script, 'sh', '3', '4'], start(), []);
    native.closeFd({ fd: await listenerOf(staged) });
    const pid = await new Promise<number>((resolve) => {
      staged.child.stdout?.once('data', (line) => resolve(Number(/pid (\d+)/.exec(String(line))?.[1])));
    });
    const pidfd = native.openPidfd({ pid, thread: false });
    staged.child.kill('SIGKILL');
    await readable(pidfd); // Readable when the process has ended (pidfd_open(2)).
    native.closeFd({ fd: pidfd });
    // The pipe ends: nobody holds its other end any more.
    expect(await staged.ended).toEqual({ code: null, signal: 'SIGKILL' });
    staged.close();
  });
});

function start(): Buffer {
  return assemble(oneExecOnly);
}

/** The stager and a complete command line that makes it the probe, to be run by another program. */
function minimal(question: string, options: readonly string[] = []): string[] {
  const own = ['--status-fd', '3', '--filter-fd', '4', '--keep', '0,1,2', ...options];
  return [stagerPath, ...own, '--exec', probe, '--', 'probe', question];
}

/** The stager, itself under a filter with `rules`. */
function underFilter(options: readonly string[], rules: readonly FilterRule[], how: readonly string[] = []): Staged {
  const outerFd = native.memfd({ name: 'outer', data: assemble(rules), seal: true });
  const staged = stageWith(outside, [...how, '5', ...minimal('call', options)], start(), [outerFd]);
  native.closeFd({ fd: outerFd });
  return staged;
}

async function listenerOf(staged: Staged): Promise<number> {
  const packet = (await staged.packet()) as Packet;
  expect(packet.report).toEqual({ step: 'listener', waitKillable: true, signalScope: false });
  expect(packet.fds).toHaveLength(1);
  return packet.fds[0] as number;
}

/** What the program printed; it must have been executed and have ended well. */
async function answers(staged: Staged): Promise<string> {
  native.closeFd({ fd: await listenerOf(staged) });
  expect(await staged.packet()).toBeUndefined();
  const text = await staged.stdout;
  expect(await staged.stderr).toBe('');
  expect(await staged.ended).toEqual({ code: 0, signal: null });
  staged.close();
  return text;
}

function fields(status: string): Record<string, string> {
  return Object.fromEntries(
    status
      .trim()
      .split('\n')
      .map((line) => line.split(':').map((part) => part.trim())),
  );
}
