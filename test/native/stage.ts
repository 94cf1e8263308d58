// SPDX-License-Identifier: Apache-2.0
// Starts the stager as the launcher does, and reads its status packets.

import { type ChildProcess, spawn } from 'node:child_process';
import { native } from '../../native/index.ts';
import { packagePath } from '../../native/package-path.ts';
import { assemble, type FilterRule, oneExecOnly } from './assemble.ts';
import { readable } from './fds.ts';

export const stagerPath = packagePath('build/Release/ratchet-stager');

export interface StageOptions {
  readonly program: string;
  readonly argv: readonly string[];
  /** Before those that every start filter has. */
  readonly rules?: readonly FilterRule[];
  /** In place of an assembled filter. */
  readonly filter?: Uint8Array;
  readonly keep?: string;
  readonly options?: readonly string[];
  /** Extra fds for the child, from number 5 on. */
  readonly fds?: readonly number[];
}

export interface Packet {
  readonly report: { readonly step: string; readonly errno?: number; readonly waitKillable?: boolean };
  readonly fds: readonly number[];
}

export interface Staged {
  readonly child: ChildProcess;
  /** The next packet; undefined when the status socket was closed, by exec or by the end. */
  readonly packet: () => Promise<Packet | undefined>;
  readonly stdout: Promise<string>;
  readonly stderr: Promise<string>;
  readonly ended: Promise<{ readonly code: number | null; readonly signal: string | null }>;
  readonly close: () => void;
}

export function stage(options: StageOptions): Staged {
  const filter = options.filter ?? assemble([...(options.rules ?? []), ...oneExecOnly]);
  return stageWith(
    stagerPath,
    [
      ...['--status-fd', '3', '--filter-fd', '4', '--keep', options.keep ?? '0,1,2'],
      ...(options.options ?? []),
      ...['--exec', options.program, '--', ...options.argv],
    ],
    filter,
    options.fds ?? [],
  );
}

/** Any command line, with the status socket as fd 3, the filter as fd 4 and `fds` from 5 on. */
export function stageWith(
  command: string,
  args: readonly string[],
  filter: Uint8Array,
  fds: readonly number[],
): Staged {
  const [ours, theirs] = native.socketPair({ type: 'seqpacket' });
  const filterFd = native.memfd({ name: 'filter', data: filter, seal: true });
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe', theirs, filterFd, ...fds] });
  native.closeFd({ fd: theirs });
  native.closeFd({ fd: filterFd });
  return {
    child,
    packet: () => nextPacket(ours),
    stdout: text(child.stdout),
    stderr: text(child.stderr),
    ended: new Promise((resolve, reject) => {
      child.on('error', reject);
      child.on('close', (code, signal) => resolve({ code, signal }));
    }),
    close: () => native.closeFd({ fd: ours }),
  };
}

async function nextPacket(fd: number): Promise<Packet | undefined> {
  for (;;) {
    const received = native.receiveMessage({ fd, maxBytes: 4096, maxFds: 1 });
    if (received.kind === 'end') return undefined;
    if (received.kind === 'message') return { report: JSON.parse(received.data.toString()), fds: received.fds };
    await readable(fd);
  }
}

async function text(stream: NodeJS.ReadableStream | null): Promise<string> {
  let all = '';
  for await (const chunk of stream ?? []) all += String(chunk);
  return all;
}
