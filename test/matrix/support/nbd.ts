// SPDX-License-Identifier: Apache-2.0
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { waitFor } from '../../launch/processes.ts';
import type { Scene } from '../scene.ts';

/** Serves a raw image by qemu-nbd at the arguments' address for as long as the row lasts. */
export async function serveNbd(scene: Scene, image: string, ...address: readonly string[]): Promise<ChildProcess> {
  const pidFile = scene.path('.pid');
  const server = spawn(
    'qemu-nbd',
    ['-f', 'raw', '-x', 'disk', '--persistent', '--pid-file', pidFile, ...address, image],
    {
      stdio: ['ignore', 'ignore', 'inherit'],
    },
  );
  scene.onEnd(async () => {
    server.kill();
    if (server.exitCode === null && server.signalCode === null) await once(server, 'exit');
  });
  // It writes the file when it listens.
  await waitFor('qemu-nbd', () => existsSync(pidFile));
  return server;
}
