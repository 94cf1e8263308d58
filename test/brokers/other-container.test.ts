// SPDX-License-Identifier: Apache-2.0
// A VM and an agent as two containers have them: user, mount, process and network namespaces of their own, and one folder with sockets that both see.
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { packagePath } from '../../native/package-path.ts';
import { bareVmm, type Started, startRatchet } from '../cli/ratchet.ts';
import { Manager } from '../systemd/manager.ts';

const folder = mkdtempSync(join(tmpdir(), 'ratchet-containers-'));
const doors = join(folder, 'doors');
/** A file system of its own in each container. */
const images = join(folder, 'images');
const namespaces = [
  'unshare',
  '--user',
  '--map-root-user',
  '--mount',
  '--pid',
  '--net',
  '--fork',
  '--mount-proc',
  '--kill-child',
];
const inContainer = (prepare: string): readonly string[] => [
  ...namespaces,
  'sh',
  '-c',
  `mount -t tmpfs none ${images} && ${prepare} && exec "$@"`,
  'sh',
];

let vm: Started;

beforeAll(async () => {
  for (const each of [doors, images]) mkdirSync(each);
  using manager = new Manager(join(doors, 'notify'));
  const options = [
    'run',
    '--control',
    join(doors, 'control'),
    '--agents',
    join(doors, 'agents'),
    '--allow',
    `open=${images}/disk:ro`,
  ];
  vm = startRatchet([...options, ...bareVmm], inContainer(`echo "the image" >${images}/disk`), {
    env: { ...process.env, NOTIFY_SOCKET: manager.path },
  });
  await Promise.race([manager.hears(/^READY=1$/), vm.ended.then(({ stderr }) => Promise.reject(new Error(stderr)))]);
});

afterAll(async () => {
  vm.child.kill('SIGKILL');
  await vm.ended;
  rmSync(folder, { recursive: true });
});

const asks = `
import os, sys
sys.path.insert(0, 'examples')
from broker_client import Broker, channel
broker = Broker(channel(sys.argv[1]))
print(os.path.exists(sys.argv[2]), os.listdir('/sys/class/net') if os.path.exists('/sys/class/net') else '')
result, fd = broker.request('open', path=sys.argv[2], access='ro')
print(result['class'], os.read(fd, 100).decode().strip())
for path, access in [(sys.argv[2], 'rw'), ('/etc/passwd', 'ro')]:
    result, fd = broker.request('open', path=path, access=access)
    print(result['class'], fd)
`;

const greets = `
import socket, sys
agent = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
agent.connect(sys.argv[1])
print(len(agent.recv(9)))
`;

function agent(script: string, wrapper: readonly string[] = []): { readonly stdout: string; readonly stderr: string } {
  const words = [
    ...wrapper,
    ...inContainer('true'),
    'python3',
    '-c',
    script,
    join(doors, 'agents'),
    join(images, 'disk'),
  ];
  const [program = '', ...args] = words;
  const { stdout, stderr } = spawnSync(program, args, {
    encoding: 'utf8',
    cwd: wrapper.length > 0 ? '/' : packagePath('.'),
  });
  return { stdout, stderr };
}

describe('an agent in another container', () => {
  test('gets a file that it cannot see, for what the rules say, and nothing else', () => {
    const { stdout, stderr } = agent(asks);
    expect({
      lines: stdout
        .trim()
        .split('\n')
        .map((line) => line.replace(/ \[.*/, '')),
      stderr,
    }).toEqual({
      lines: ['False', 'ok the image', 'denied None', 'denied None'],
      stderr: '',
    });
  });

  test('is not taken when it is another user there, even where it may open the socket', () => {
    for (const path of [folder, doors, images]) chmodSync(path, 0o755);
    chmodSync(join(doors, 'agents'), 0o666);
    expect(agent(greets)).toEqual({ stdout: '9\n', stderr: '' });
    const other = ['setpriv', '--reuid=61997', '--regid=61997', '--clear-groups'];
    expect(agent(greets, other)).toEqual({ stdout: '0\n', stderr: '' });
  });
});
