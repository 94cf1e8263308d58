// SPDX-License-Identifier: Apache-2.0
// The control socket of a running sandbox or group: newline-delimited JSON, one request a line, answered in order. Who may open the
// socket file (mode 0600, where it was bound here) and is the launcher's user or root may do what the launcher may: it is the launcher's authority, not the VMM's.
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { deferred, withDeadline } from '../deferred.ts';
import { RatchetError } from '../errors.ts';
import type { OwnedFd } from '../owned-fd.ts';
import { bindListening } from './bind-listening.ts';
import type { Controlled } from './command-table.ts';
import { drained } from './drained.ts';
import { streamProgram } from './program.ts';
import { refuseStranger } from './refuse-stranger.ts';

const maxRequestBytes = 64 * 1024;
const maxClients = 64;
/** How long the last events may take to reach their readers. */
const farewellMs = 1000;

export interface ControlServer {
  /** From now on requests are answered; those that came before have waited. */
  serve(controlled: Controlled): void;
  /** Lets event readers have the last events and callers their answers, then closes every connection and removes the socket file. */
  close(): Promise<void>;
}

/** Binds the path, before there is anything to serve: a path in use is told before a VM is started. @throws RatchetError CONTROL_FAILED. */
export async function bindControl(path: string): Promise<ControlServer> {
  const socket = bindListening({ path, type: 'stream', what: 'control socket', option: '--control' });
  return await serveControl(socket, () => rmSync(path, { force: true }));
}

/** On a socket that listens already; takes it. `atEnd` before the connections are closed. */
export async function serveControl(listening: OwnedFd, atEnd: () => void = () => undefined): Promise<ControlServer> {
  const clients = new Map<Socket, Promise<void>>();
  const controlled = deferred<Controlled>();
  const answering = new Set<Promise<unknown>>();
  // A program's output goes on when its input has ended.
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('close', () => clients.delete(socket));
    socket.on('error', () => socket.destroy());
    const stranger = refuseStranger(socket);
    if (stranger !== undefined)
      return void socket.end(`${JSON.stringify(failure(stranger))}\n`, () => socket.destroy());
    const served = controlled.promise
      .then((running) => serveClient(running, socket, answering))
      // A client that leaves or sends nonsense is nobody else's trouble.
      .catch(() => undefined)
      .then(() => void socket.destroySoon());
    clients.set(socket, served);
  });
  server.maxConnections = maxClients;
  const listens = once(server, 'listening');
  server.listen({ fd: listening.release() });
  await listens;
  return {
    serve: controlled.resolve,
    close: async () => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      atEnd();
      const streaming = [...clients].filter(([socket]) => eventReaders.has(socket)).map(([, served]) => served);
      const last = Promise.all([...streaming, ...answering]);
      await withDeadline(last, farewellMs, () => new Error('slow readers')).catch(() => undefined);
      for (const [socket] of clients) socket.destroySoon();
      const timer = setTimeout(() => {
        for (const [socket] of clients) socket.destroy();
      }, farewellMs);
      await closed;
      clearTimeout(timer);
    },
  };
}

/** Clients that asked for events, and so wait for the end. */
const eventReaders = new WeakSet<Socket>();

async function serveClient(controlled: Controlled, socket: Socket, answering: Set<Promise<unknown>>): Promise<void> {
  let received = 0;
  socket.on('data', (chunk: Buffer) => {
    received += chunk.length;
    if (received > maxRequestBytes) socket.destroy();
  });
  for await (const line of createInterface({ input: socket })) {
    received = 0;
    const request = parseRequest(line);
    if (request?.command === 'events') return await streamEvents(controlled, socket);
    if (request?.command === 'exec') return await execute(controlled, socket, request.arguments);
    const answered = answer(controlled, request).then((reply) => send(socket, reply));
    answering.add(answered);
    await answered.finally(() => answering.delete(answered));
  }
}

async function streamEvents(controlled: Controlled, socket: Socket): Promise<void> {
  eventReaders.add(socket);
  const events = controlled.events[Symbol.asyncIterator]();
  // A client that has gone is seen by its end, since this side may go on by itself; for that it has to be read.
  for (const sign of ['end', 'close']) socket.once(sign, () => void events.return?.());
  socket.resume();
  for (let next = await events.next(); next.done !== true; next = await events.next()) await send(socket, next.value);
}

async function execute(controlled: Controlled, socket: Socket, given: unknown): Promise<void> {
  let target: ReturnType<Controlled['target']>;
  try {
    target = controlled.target(given);
  } catch (error) {
    return await send(socket, failure(error));
  }
  await streamProgram(target.sandbox, socket, target.given);
}

/** Waits until a client that reads slowly has taken it: what piles up meanwhile is bounded by the event queue, or not made at all. */
async function send(socket: Socket, value: unknown): Promise<void> {
  if (socket.destroyed || socket.write(`${JSON.stringify(value)}\n`)) return;
  await drained(socket);
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
async function answer(controlled: Controlled, request: Request | undefined): Promise<unknown> {
  try {
    if (request === undefined)
      throw new RatchetError('ARGUMENT_INVALID', 'a request is one line of JSON: {"command", "arguments"}');
    return { ok: true, result: (await controlled.perform(request.command, request.arguments)) ?? {} };
  } catch (error) {
    return failure(error);
  }
}

function failure(error: unknown): unknown {
  const code = error instanceof RatchetError ? error.code : 'CONTROL_FAILED';
  return { ok: false, error: { code, message: (error as Error).message } };
}
