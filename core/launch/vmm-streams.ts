// SPDX-License-Identifier: Apache-2.0
// Pipes to a program that is not Node's own child: the stager that Node has started may end, and its sibling becomes the program.
import { Socket } from 'node:net';
import type { Readable, Writable } from 'node:stream';
import { native } from '../../native/index.ts';
import { OwnedFd } from '../owned-fd.ts';

export type StdioKind = 'inherit' | 'pipe' | 'ignore';

export interface VmmStreams extends Disposable {
  /** For `spawn()`. Dispose of it when that is done: the program's end must be the last. */
  readonly stdio: readonly (number | 'inherit' | 'ignore')[];
  /** Null where no pipe was asked for. */
  readonly stdin: Writable | null;
  readonly stdout: Readable | null;
  readonly stderr: Readable | null;
}

/** A number is a descriptor of ours that it inherits. */
export function openStreams(kinds: readonly (StdioKind | number)[]): VmmStreams {
  const theirs: OwnedFd[] = [];
  const ends = kinds.map((kind, index) => {
    if (kind !== 'pipe') return { stdio: kind, stream: null };
    // As Node has it: a socket, so that each side sees when the other has gone.
    const [ours, other] = native.socketPair({ type: 'stream' });
    theirs.push(new OwnedFd(other));
    const stream = new Socket({ fd: ours, readable: index > 0, writable: index === 0 });
    return { stdio: other, stream };
  });
  const [stdin, stdout, stderr] = ends.map(({ stream }) => stream);
  return {
    stdio: ends.map(({ stdio }) => stdio),
    stdin: stdin ?? null,
    stdout: stdout ?? null,
    stderr: stderr ?? null,
    [Symbol.dispose]: () => {
      for (const fd of theirs) fd.close();
    },
  };
}

/** For a program that never was. */
export function endStreams({ stdin, stdout, stderr }: VmmStreams): void {
  for (const stream of [stdin, stdout, stderr]) stream?.destroy();
}
