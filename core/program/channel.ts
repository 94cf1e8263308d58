// SPDX-License-Identifier: Apache-2.0
// What a program that knows of ratchet may ask its launcher, on the stream socket that RATCHET_FD names. One request a line, answered in order:
//
//   stage NAME              go to this stage; the program is tightened before the answer comes
//   connect ADDR            a connected socket, made by the broker by the same rules as the program's own connect()
//   bind ADDR BACKLOG       a bound socket, listening when BACKLOG is above 0
//   open ro|rw|wo PATH      an open file
//
// The answer is `ok`, with the descriptor over SCM_RIGHTS where there is one, or `error CODE TEXT`. The program is not trusted: stages only tighten, and the
// broker judges every request. native/client/ratchet.h speaks this.
import { RatchetError } from '../errors.ts';
import type { OwnedFd } from '../owned-fd.ts';
import { FdChannel } from '../vmm/fd-channel.ts';
import type { VmmHost } from '../vmm/vmm.ts';

const maxLineBytes = 8192;
/** A program that sends without reading answers is cut off. */
const maxWaiting = 64;

/** What of its sandbox a program may reach. */
export type ChannelHost = Pick<VmmHost, 'enter' | 'connect' | 'bind' | 'open'>;

/** Serves until the program closes its end, breaks the rules, or `close()`. */
export function serveChannel(socket: OwnedFd, host: ChannelHost): { close(): void } {
  let unfinished = '';
  let waiting = 0;
  let turn: Promise<void> = Promise.resolve();
  const gone = (why: string): RatchetError => new RatchetError('CONTROL_FAILED', `the program's channel ${why}`);
  const channel = new FdChannel(
    socket,
    {
      data: (chunk) => {
        const lines = (unfinished + chunk.toString('utf8')).split('\n');
        unfinished = lines.pop() ?? '';
        waiting += lines.length;
        if (unfinished.length > maxLineBytes || waiting > maxWaiting) return channel.close(gone('was flooded'));
        for (const line of lines) {
          turn = turn.then(async () => {
            await answer(line, host, channel);
            waiting--;
          });
        }
      },
      ended: () => undefined,
    },
    gone,
  );
  return { close: () => channel.close(gone('was closed')) };
}

async function answer(line: string, host: ChannelHost, channel: FdChannel): Promise<void> {
  try {
    using fd = await perform(line, host);
    // Sent at once: the socket's buffer is larger than all answers that may be waiting.
    channel.send(Buffer.from('ok\n'), fd === undefined ? [] : [fd.fd]);
  } catch (error) {
    const code = error instanceof RatchetError ? error.code : 'CONTROL_FAILED';
    channel.send(Buffer.from(`error ${code} ${(error as Error).message.replaceAll('\n', ' ')}\n`), []);
  }
}

async function perform(line: string, host: ChannelHost): Promise<OwnedFd | undefined> {
  const [verb = '', first = '', ...rest] = line.split(' ');
  switch (verb) {
    case 'stage':
      await host.enter(first);
      return undefined;
    case 'connect':
      return await host.connect(first);
    case 'bind':
      return await host.bind(first, backlogOf(rest[0]));
    case 'open':
      return await host.open(rest.join(' '), accessOf(first));
    default:
      throw new RatchetError('ARGUMENT_INVALID', `there is no request ${JSON.stringify(verb)}`, {
        next: 'ask for stage, connect, bind or open',
      });
  }
}

function backlogOf(text: string | undefined): number {
  const backlog = Number(text ?? '0');
  if (Number.isInteger(backlog) && backlog >= 0 && backlog <= 4096) return backlog;
  throw new RatchetError('ARGUMENT_INVALID', `${text} is no backlog`, { next: 'give a number from 0 to 4096' });
}

function accessOf(text: string): 'ro' | 'rw' | 'wo' {
  if (text === 'ro' || text === 'rw' || text === 'wo') return text;
  throw new RatchetError('ARGUMENT_INVALID', `${text} is no way to open a file`, { next: 'write ro, rw or wo' });
}
