// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { bindControl } from '../../core/control/server.ts';
import { bindAgentDoor } from '../../core/launch/agent-door.ts';
import { scratch } from '../brokers/rig.ts';

/** Bound by a process that has ended without removing it, as one does that was killed. */
function leaveBehind(path: string, type: 'SOCK_STREAM' | 'SOCK_SEQPACKET'): void {
  execFileSync('python3', [
    '-c',
    `import socket, sys; socket.socket(socket.AF_UNIX, socket.${type}).bind(sys.argv[1])`,
    path,
  ]);
  expect(existsSync(path)).toBe(true);
}

const inUse = expect.objectContaining({ code: 'CONTROL_FAILED', errno: 'EADDRINUSE' });

test('a control socket that nobody listens on any more is replaced', async () => {
  using folder = scratch();
  const path = `${folder.path}/vm.ctl`;
  leaveBehind(path, 'SOCK_STREAM');
  const server = await bindControl(path);
  await expect(bindControl(path)).rejects.toThrow(inUse);
  await server.close();
});

test('a socket for agents likewise, and neither replaces what is in use or no socket', async () => {
  using folder = scratch();
  const path = `${folder.path}/agents`;
  leaveBehind(path, 'SOCK_SEQPACKET');
  using door = bindAgentDoor(path);
  expect(door.fd).toBeGreaterThan(0);
  expect(() => bindAgentDoor(path)).toThrow(inUse);
  await expect(bindControl(path)).rejects.toThrow(inUse);
  const file = `${folder.path}/file`;
  writeFileSync(file, 'kept');
  await expect(bindControl(file)).rejects.toThrow(inUse);
  expect(existsSync(file)).toBe(true);
});
