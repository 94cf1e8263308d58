// SPDX-License-Identifier: Apache-2.0
import { connect, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { type ErrorCode, errorTable, RatchetError } from '../errors.ts';

/** One request to a running sandbox. @throws RatchetError with the code that the sandbox gave, CONTROL_FAILED when it cannot be reached. */
export async function controlRequest(path: string, command: string, argumentsObject: object = {}): Promise<unknown> {
  for await (const line of exchange(path, { command, arguments: argumentsObject })) return resultOf(line);
  throw new RatchetError('CONTROL_FAILED', `${path} closed the connection without an answer`, {
    next: 'the VM may have ended',
  });
}

/** What an answer says. @throws RatchetError with the code in it. */
export function resultOf(line: string): unknown {
  const reply = JSON.parse(line) as
    | { ok: true; result: unknown }
    | { ok: false; error: { code: string; message: string } };
  if (reply.ok) return reply.result;
  const code: ErrorCode = reply.error.code in errorTable ? (reply.error.code as ErrorCode) : 'CONTROL_FAILED';
  throw new RatchetError(code, reply.error.message);
}

/** Events of a running sandbox, one JSON text each, until it ends. */
export function controlEvents(path: string): AsyncIterable<string> {
  return exchange(path, { command: 'events' });
}

async function* exchange(path: string, request: object): AsyncGenerator<string> {
  const socket = await openControl(path);
  try {
    socket.write(`${JSON.stringify(request)}\n`);
    yield* createInterface({ input: socket });
  } finally {
    socket.destroy();
  }
}

/** @throws RatchetError CONTROL_FAILED. */
export function openControl(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(path, () => resolve(socket));
    socket.once('error', (cause: NodeJS.ErrnoException) =>
      reject(
        new RatchetError('CONTROL_FAILED', `no sandbox answers on ${path}`, {
          errno: cause.code ?? 'EIO',
          next: 'give the path that `ratchet run --control` was given',
          cause,
        }),
      ),
    );
  });
}
