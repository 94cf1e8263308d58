// SPDX-License-Identifier: Apache-2.0
// `ctl PATH exec`: the connection becomes the streams of the program. After the request's answer, a line of JSON, come its stdin in the one direction and packets in the
// other: a byte that tells the kind (1: stdout, 2: the end), a length of four bytes (big-endian), and the bytes. The end is a line of JSON: {code, signal}.
// Now and then stdout has no bytes: a client that has left cannot be told from one whose input has ended, or waits, but by writing to it.
import { Socket } from 'node:net';
import { z } from 'zod';
import { RatchetError } from '../errors.ts';
import type { Sandbox } from '../launch/sandbox.ts';
import type { OwnedFd } from '../owned-fd.ts';
import type { RunningProgram } from '../programs/running-program.ts';
import type { Vmm } from '../vmm/vmm.ts';
import { drained } from './drained.ts';

export const programPacket = { output: 1, end: 2 } as const;
export const packetHeaderBytes = 5;

const lookMs = 1000;

const argumentsSchema = z.strictObject({
  program: z.string(),
  input: z.string().optional(),
  output: z.string().optional(),
});

/** Resolves when the program has ended and its last words are on their way. A client that leaves ends it. */
export async function streamProgram(sandbox: Sandbox<Vmm>, client: Socket, request: unknown): Promise<void> {
  let running: RunningProgram;
  try {
    const { program, input, output } = argumentsSchema.parse(request);
    running = await sandbox.exec(program, {
      ...(input === undefined ? {} : { input }),
      ...(output === undefined ? {} : { output }),
    });
  } catch (error) {
    const code = error instanceof RatchetError ? error.code : 'ARGUMENT_INVALID';
    client.write(`${JSON.stringify({ ok: false, error: { code, message: (error as Error).message } })}\n`);
    return;
  }
  client.once('close', () => void running.kill());
  client.removeAllListeners('data');
  client.write(`${JSON.stringify({ ok: true, result: { pid: running.pid } })}\n`);
  const looking = setInterval(() => {
    // What waits to be written fails by itself.
    if (client.writableLength === 0) client.write(packet(programPacket.output, Buffer.alloc(0)));
  }, lookMs).unref();
  // It may have left before anybody listened.
  if (client.destroyed) void running.kill();
  try {
    await relay(running, client);
    const status = await running.exited;
    client.write(packet(programPacket.end, Buffer.from(JSON.stringify(status))));
  } finally {
    clearInterval(looking);
  }
}

async function relay(running: RunningProgram, client: Socket): Promise<void> {
  const { stdin, stdout, socket } = running;
  const both = socket === undefined ? undefined : streamOf(socket);
  const into = both ?? (stdin === undefined ? undefined : streamOf(stdin));
  const from = both ?? (stdout === undefined ? undefined : streamOf(stdout));
  // A program that reads no more is none of the client's trouble.
  into?.on('error', () => into.destroy());
  if (into !== both) void running.exited.then(() => into?.destroy());
  if (into === undefined) client.resume();
  else client.pipe(into);
  if (from === undefined) return;
  try {
    for await (const chunk of from as AsyncIterable<Buffer>)
      if (!client.write(packet(programPacket.output, chunk))) await drained(client);
  } catch {
    // It ended with data unread (ECONNRESET): its status tells.
  }
  into?.destroy();
}

function streamOf(fd: OwnedFd): Socket {
  return new Socket({ fd: fd.release(), readable: true, writable: true, allowHalfOpen: true });
}

function packet(kind: number, bytes: Buffer): Buffer {
  const header = Buffer.alloc(packetHeaderBytes);
  header.writeUInt8(kind, 0);
  header.writeUInt32BE(bytes.length, 1);
  return Buffer.concat([header, bytes]);
}
