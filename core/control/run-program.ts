// SPDX-License-Identifier: Apache-2.0
// The client's side of `ctl PATH exec`; core/control/program.ts has the form.
import type { Readable } from 'node:stream';
import { z } from 'zod';
import { RatchetError } from '../errors.ts';
import type { ExitStatus } from '../launch/exit-status.ts';
import { openControl, resultOf } from './client.ts';
import { packetHeaderBytes, programPacket } from './program.ts';

export interface ProgramRequest {
  readonly program: string;
  readonly input?: string;
  readonly output?: string;
  /** Of a group: whose program; its VMM's by default. */
  readonly member?: string;
}

const statusSchema = z.object({ code: z.number().nullable(), signal: z.string().nullable() });

/** @throws RatchetError with the code that the sandbox gave, CONTROL_FAILED when it cannot be reached or ends meanwhile. */
export async function runProgram(
  path: string,
  request: ProgramRequest,
  { input, onOutput }: { readonly input?: Readable; readonly onOutput: (bytes: Buffer) => Promise<void> },
): Promise<ExitStatus> {
  const socket = await openControl(path);
  let received = Buffer.alloc(0);
  let answered = false;
  try {
    socket.write(`${JSON.stringify({ command: 'exec', arguments: request })}\n`);
    for await (const chunk of socket as AsyncIterable<Buffer>) {
      received = Buffer.concat([received, chunk]);
      if (!answered) {
        const end = received.indexOf('\n');
        if (end < 0) continue;
        resultOf(received.subarray(0, end).toString());
        answered = true;
        received = received.subarray(end + 1);
        // Its errors are those of the socket, whose end is seen here.
        if (input === undefined) socket.end();
        else input.pipe(socket);
      }
      for (;;) {
        const length = received.length < packetHeaderBytes ? undefined : received.readUInt32BE(1);
        if (length === undefined || received.length < packetHeaderBytes + length) break;
        const kind = received.readUInt8(0);
        const bytes = received.subarray(packetHeaderBytes, packetHeaderBytes + length);
        received = received.subarray(packetHeaderBytes + length);
        if (kind === programPacket.end) return statusSchema.parse(JSON.parse(bytes.toString())) as ExitStatus;
        if (bytes.length > 0) await onOutput(bytes);
      }
    }
  } finally {
    input?.unpipe(socket);
    input?.destroy();
    socket.destroy();
  }
  throw new RatchetError('CONTROL_FAILED', `${path} closed the connection before ${request.program} had ended`, {
    next: 'the VM may have ended',
  });
}
