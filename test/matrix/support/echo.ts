// SPDX-License-Identifier: Apache-2.0
import { once } from 'node:events';
import { createServer } from 'node:net';
import type { Scene } from '../scene.ts';

/** Gives back what it gets, also after its peer has sent its last, until the scene ends; resolves with its port. */
export async function startEcho(scene: Scene, host: string): Promise<number> {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => undefined);
    socket.pipe(socket);
  });
  server.listen(0, host);
  await once(server, 'listening');
  scene.onEnd(() => server.close());
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : 0;
}
