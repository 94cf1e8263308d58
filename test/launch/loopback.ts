// SPDX-License-Identifier: Apache-2.0
import { createServer } from 'node:net';

/** A TCP server that closes what connects, and counts it. */
export async function listenOnLoopback(): Promise<
  AsyncDisposable & { readonly address: string; readonly connections: () => number }
> {
  let connections = 0;
  const server = createServer((socket) => {
    connections++;
    socket.destroy();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  return {
    address: `tcp:127.0.0.1:${typeof address === 'object' ? address?.port : 0}`,
    connections: () => connections,
    [Symbol.asyncDispose]: async () => void server.close(),
  };
}
