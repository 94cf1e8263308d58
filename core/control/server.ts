// SPDX-License-Identifier: Apache-2.0
// The control socket of a running sandbox: newline-delimited JSON, one request a line, answered in order. Whoever may open the
// socket file (mode 0600) may do what its owner may: it is the launcher's authority, not the VMM's.
import { chmodSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { RatchetError } from '../errors.ts';
import type { Sandbox } from '../launch/sandbox.ts';
import { controlCommands } from './commands.ts';

const maxRequestBytes = 64 * 1024;

export interface ControlServer {
  close(): Promise<void>;
}

/** Serves the sandbox on a unix socket path. @throws RatchetError CONTROL_FAILED when the path cannot be bound. */
export async function serveControl(sandbox: Sandbox, path: string): Promise<ControlServer> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => socket.destroy());
    void serveClient(sandbox, socket);
  });
  await listen(server, path);
  return {
    close: () =>
      new Promise((resolve) => {
        for (const socket of sockets) socket.destroy();
        server.close(() => resolve());
        rmSync(path, { force: true });
      }),
  };
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) =>
      reject(
        new RatchetError('CONTROL_FAILED', `the control socket ${path} could not be bound`, {
          errno: cause.code ?? 'EIO',
          next:
            cause.code === 'EADDRINUSE'
              ? 'another VM uses it, or remove the file that one left'
              : 'choose another path with --control',
          cause,
        }),
      ),
    );
    // bind(2) takes the mode from the umask; nobody else may connect in the moment before a chmod.
    const before = process.umask(0o177);
    server.listen(path, () => {
      chmodSync(path, 0o600);
      resolve();
    });
    process.umask(before);
  });
}

async function serveClient(sandbox: Sandbox, socket: Socket): Promise<void> {
  let received = 0;
  socket.on('data', (chunk: Buffer) => {
    received += chunk.length;
    if (received > maxRequestBytes) socket.destroy();
  });
  for await (const line of createInterface({ input: socket })) {
    received = 0;
    const request = parseRequest(line);
    if (request?.command === 'events') return await streamEvents(sandbox, socket);
    socket.write(`${JSON.stringify(await answer(sandbox, request))}\n`);
  }
}

async function streamEvents(sandbox: Sandbox, socket: Socket): Promise<void> {
  for await (const event of sandbox.events) {
    if (socket.destroyed) return;
    socket.write(`${JSON.stringify(event)}\n`);
  }
  socket.end();
}

interface Request {
  readonly command: string;
  readonly arguments: unknown;
}

function parseRequest(line: string): Request | undefined {
  try {
    const value = JSON.parse(line) as Partial<Request> | null;
    if (typeof value?.command === 'string') return { command: value.command, arguments: value.arguments ?? {} };
  } catch {
    // Answered below as a bad request.
  }
  return undefined;
}

/** `{ok: true, result}` or `{ok: false, error: {code, message}}`. */
async function answer(sandbox: Sandbox, request: Request | undefined): Promise<unknown> {
  try {
    if (request === undefined)
      throw new RatchetError('ARGUMENT_INVALID', 'a request is one line of JSON: {"command", "arguments"}');
    const command = controlCommands.get(request.command);
    if (command === undefined)
      throw new RatchetError('ARGUMENT_INVALID', `there is no control command ${request.command}`, {
        next: `there are ${[...controlCommands.keys(), 'events'].join(', ')}`,
      });
    return { ok: true, result: (await command(sandbox, request.arguments)) ?? {} };
  } catch (error) {
    const code = error instanceof RatchetError ? error.code : 'CONTROL_FAILED';
    return { ok: false, error: { code, message: (error as Error).message } };
  }
}
