// SPDX-License-Identifier: Apache-2.0
// `ratchet run` as a service: what its manager is told, and sockets that the manager passes.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { bindListening } from '../../core/control/bind-listening.ts';
import { controlRequest } from '../../core/control/client.ts';
import type { GroupStatus } from '../../core/group/group-report.ts';
import type { SandboxStatus } from '../../core/launch/sandbox-status.ts';
import { OwnedFd } from '../../core/owned-fd.ts';
import { addressToSockaddr, sockaddrToAddress, socketFamily } from '../../core/policy/address/index.ts';
import { ServiceManager } from '../../core/systemd/service-manager.ts';
import { native } from '../../native/index.ts';
import { packagePath } from '../../native/package-path.ts';
import { bareVmm, type Started, startRatchet } from '../cli/ratchet.ts';
import { Manager } from './manager.ts';

let folder: string;
let started: Started[];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'ratchet-systemd-'));
  started = [];
});

afterEach(async () => {
  for (const { child, ended } of started) {
    child.kill('SIGTERM');
    await ended;
  }
  rmSync(folder, { recursive: true });
});

/** @param passed listening sockets, as descriptors 3 and up. */
function run(options: readonly string[], passed: readonly number[] = [], manager?: Manager): Started {
  return start([...options, ...bareVmm], passed, manager);
}

const runGroup = (file: string, passed: readonly number[]): Started => start(['--group', file], passed);

function start(words: readonly string[], passed: readonly number[], manager?: Manager): Started {
  const env = {
    ...process.env,
    ...(passed.length === 0 ? {} : { LISTEN_FDS: String(passed.length) }),
    ...(manager === undefined ? {} : { NOTIFY_SOCKET: manager.path }),
  };
  const own = passed.length === 0 ? [] : ['sh', '-c', 'LISTEN_PID=$$ exec "$@"', 'sh'];
  const one = startRatchet(['run', ...words], own, { env, stdio: ['ignore', 'pipe', 'pipe', ...passed] });
  started.push(one);
  return one;
}

const status = async (path: string) => (await controlRequest(path, 'status')) as SandboxStatus;

/** The first packet that an agent gets. */
async function greeting(path: string): Promise<string> {
  using socket = new OwnedFd(native.createSocket({ domain: socketFamily.unix, type: 5, protocol: 0 }));
  native.connectSocket({ fd: socket.fd, address: addressToSockaddr({ kind: 'unix', path }) });
  await new Promise<void>((resolve) => {
    const watch = native.watchFd({ fd: socket.fd, readable: true, writable: false }, () => {
      watch.close();
      resolve();
    });
  });
  const received = native.receiveMessage({ fd: socket.fd, maxBytes: 32_768, maxFds: 0 });
  return received.kind === 'message' ? received.data.toString('latin1') : received.kind;
}

describe('a service', () => {
  test('tells its manager that it is ready, in which stage, and that it stops; its VMM cannot', async () => {
    using manager = new Manager(join(folder, 'notify'));
    const control = join(folder, 'control');
    const { ended } = run(['--control', control], [], manager);
    const { lines } = await manager.hears(/^READY=1$/);
    const { pid } = await status(control);
    expect(lines).toEqual(['READY=1', `STATUS=pid ${pid}, stage running`]);
    await controlRequest(control, 'stage', { name: 'sealed' });
    await manager.hears(/^STATUS=pid \d+, stage sealed$/);
    expect(readFileSync(`/proc/${pid}/environ`, 'utf8')).not.toContain('NOTIFY_SOCKET');
    await controlRequest(control, 'quit');
    await manager.hears(/^STOPPING=1$/);
    expect((await ended).status).toBe(0);
  });

  test('gives its sockets to its manager to keep, and who connects while it is restarted is served by its successor', async () => {
    using manager = new Manager(join(folder, 'notify'));
    const paths = { control: join(folder, 'control'), agents: join(folder, 'agents') };
    const options = ['--control', paths.control, '--agents', paths.agents];
    const first = run(options, [], manager);
    await manager.hears(/^READY=1$/);
    const kept = await Promise.all([manager.hears(/^FDNAME=control$/), manager.hears(/^FDNAME=agents$/)]);
    first.child.kill('SIGKILL');
    await first.ended;
    const waiting = status(paths.control);
    run(
      options,
      kept.flatMap(({ fds }) => fds.map(({ fd }) => fd)),
      manager,
    );
    expect(await waiting).toMatchObject({ stage: 'running' });
    expect(await greeting(paths.agents)).toContain('ratchet-broker');
  });
});

test('a socket that is to be kept is given even when it was closed, and its number used again, before the manager reads', async () => {
  using manager = new Manager(join(folder, 'notify'));
  const service = ServiceManager.find(() => undefined, { NOTIFY_SOCKET: manager.path });
  const socket = listenUnguarded(join(folder, 'kept'));
  const { fd } = socket;
  service?.status('before');
  service?.keep('control', socket);
  socket.close();
  using other = new OwnedFd(openSync('/dev/null', 'r'));
  expect(other.fd).toBe(fd);
  const { fds } = await manager.hears(/^FDNAME=control$/);
  await service?.close();
  const name = native.getSocketName({ fd: fds[0]?.fd ?? -1 });
  expect(sockaddrToAddress(name)).toMatchObject({ path: join(folder, 'kept') });
});

describe('a group', () => {
  const group = (): string => {
    const command = bareVmm.slice(1);
    const file = join(folder, 'group.yaml');
    writeFileSync(file, JSON.stringify({ version: 1, name: 'passed', members: { vmm: { command } } }));
    return file;
  };

  test('is asked over a control socket that is passed, and its members know of no passed socket', async () => {
    const path = join(folder, 'control');
    using control = listen('control');
    runGroup(group(), [control.fd]);
    const { members } = (await controlRequest(path, 'status')) as GroupStatus;
    expect(readFileSync(`/proc/${members['vmm']?.pid}/environ`, 'utf8')).not.toMatch(/LISTEN_|NOTIFY_SOCKET/);
  });

  test('has no socket for agents', async () => {
    using agents = bindListening({ path: join(folder, 'agents'), type: 'seqpacket', what: 'socket', option: '' });
    const { stderr, status: found } = await runGroup(group(), [agents.fd]).ended;
    expect({ found, stderr }).toEqual({ found: 2, stderr: expect.stringContaining('a group has none') });
  });
});

describe('sockets that are passed', () => {
  test('by systemd serve ratchet ctl, are no concern of VMM and broker, and stay when the VM has ended', async () => {
    const path = join(folder, 'control');
    const words = [process.execPath, packagePath('dist/core/cli/main.js'), 'run', ...bareVmm];
    const activator = spawn('systemd-socket-activate', ['--listen', path, ...words], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    const ended = once(activator, 'exit');
    for await (const line of createInterface({ input: activator.stderr })) if (line.includes('Listening on')) break;
    const { pid, broker, stage } = await status(path);
    expect(stage).toBe('running');
    const sockets = (each: number) =>
      readdirSync(`/proc/${each}/fd`)
        .map((fd) => readlinkSync(`/proc/${each}/fd/${fd}`))
        .filter((link) => link.startsWith('socket:'));
    const launchers = sockets(activator.pid ?? 0);
    const listening = launchers.filter((link) =>
      readFileSync('/proc/net/unix', 'utf8')
        .split('\n')
        .some((line) => line.endsWith(` ${path}`) && line.includes(` ${link.slice(8, -1)} `)),
    );
    expect(listening).not.toEqual([]);
    for (const each of [pid, broker.pid]) expect(sockets(each).filter((link) => listening.includes(link))).toEqual([]);
    await controlRequest(path, 'quit');
    await ended;
    expect(existsSync(path)).toBe(true);
  });

  test('serve agents and control by their types, whatever their order', async () => {
    const paths = { agents: join(folder, 'agents'), control: join(folder, 'control') };
    using agents = bindListening({ path: paths.agents, type: 'seqpacket', what: 'socket', option: '' });
    using control = bindListening({ path: paths.control, type: 'stream', what: 'socket', option: '' });
    run([], [agents.fd, control.fd]);
    expect(await status(paths.control)).toMatchObject({ stage: 'running' });
    expect(await greeting(paths.agents)).toContain('ratchet-broker');
  });

  test('that everybody may open serve only root and the user of the launcher, and take no descriptors', async () => {
    const path = join(folder, 'control');
    using control = listenUnguarded(path);
    chmodSync(path, 0o666);
    chmodSync(folder, 0o711);
    run([], [control.fd]);
    const { pid } = await status(path);
    // One that listens to the answer, then one that asks for the end at once.
    const quit = `const open = () => require('node:net').connect(${JSON.stringify(path)}).on('error', () => undefined);
      open().on('close', () => open().write('{"command":"quit"}\\n')).pipe(process.stdout);`;
    const stranger = spawn('setpriv', ['--reuid=65534', '--clear-groups', process.execPath, '-e', quit]);
    let answered = '';
    for await (const text of stranger.stdout) answered += text;
    expect(JSON.parse(answered)).toMatchObject({
      ok: false,
      error: { code: 'CONTROL_FAILED', message: expect.stringContaining('user 65534 may not control this sandbox') },
    });
    expect(await status(path)).toMatchObject({ pid });
    using client = new OwnedFd(native.createSocket({ domain: socketFamily.unix, type: 1, protocol: 0 }));
    native.connectSocket({ fd: client.fd, address: addressToSockaddr({ kind: 'unix', path }) });
    const send = (fds: number[]) => native.sendMessage({ fd: client.fd, data: Buffer.from('\n'), fds });
    expect(() => send([control.fd])).toThrow(expect.objectContaining({ code: 'EPERM' }));
    expect(send([])).toBe(1);
  });

  test.each([
    ['no socket', (): OwnedFd[] => [new OwnedFd(openSync('/dev/null', 'r'))], [], 'is no listening unix stream'],
    ['two of a kind', (): OwnedFd[] => [listen('one'), listen('two')], [], 'is a second socket for control'],
    [
      'another than the option says',
      (): OwnedFd[] => [listen('one')],
      ['--control', '/run/other'],
      'is not the socket',
    ],
  ])('are misuse when there is %s', async (_, make, options, message) => {
    const passed = make();
    const { stderr, status: found } = await run(
      options,
      passed.map(({ fd }) => fd),
    ).ended;
    for (const fd of passed) fd.close();
    expect({ found, stderr }).toEqual({ found: 2, stderr: expect.stringContaining(message) });
  });
});

function listen(name: string): OwnedFd {
  return bindListening({ path: join(folder, name), type: 'stream', what: 'socket', option: '' });
}

/** As a service manager makes one that knows nothing of ratchet. */
function listenUnguarded(path: string): OwnedFd {
  const socket = new OwnedFd(native.createSocket({ domain: socketFamily.unix, type: 1, protocol: 0 }));
  native.bindSocket({ fd: socket.fd, address: addressToSockaddr({ kind: 'unix', path }) });
  native.listenSocket({ fd: socket.fd, backlog: 8 });
  return socket;
}
