// SPDX-License-Identifier: Apache-2.0
import { constants } from 'node:fs';
import type { Request } from '../../core/broker/protocol.ts';
import { OwnedFd } from '../../core/owned-fd.ts';
import { normalisePath } from '../../core/policy/address/index.ts';
import type { NamedProgram } from '../../core/policy/types.ts';
import { native } from '../../native/index.ts';
import type { Permit } from '../authority.ts';
import type { Broker } from '../broker.ts';
import { errno } from '../linux.ts';
import { attempt } from '../native-errno.ts';
import { setNonBlocking } from '../non-blocking.ts';
import { type OpenWish, openWish } from '../open-granted.ts';
import type { Started } from '../running-programs.ts';
import { judgeRequest, parseOrFail, replyWithdrawn, reportGranted } from './judged.ts';
import { failed, ok, type Reply } from './reply.ts';

type ExecRequest = Extract<Request, { type: 'exec' }>;
type StreamName = 'stdin' | 'stdout' | 'socket';

/** New files belong to the broker's user alone. */
const createMode = 0o600;

/**
 * Has one of the profile's programs run: decides, makes its streams, and lets the launcher start it. Who asks chooses the name, and files that `open` rules grant
 * in place of the streams; nothing else.
 */
export function execRequest(broker: Broker, request: ExecRequest, reply: Reply): void {
  const startedMs = performance.now();
  const wish = { request: 'exec', program: request.program } as const;
  const permit = judgeRequest(broker, wish, startedMs, reply);
  if (permit === undefined) return;
  const program = broker.stages.profile.programs?.find(({ name }) => name === request.program);
  // The loader refuses rules about programs that are not there.
  if (program === undefined) {
    failed(reply, 'the profile does not define it', errno.ENOENT);
    return;
  }
  if (broker.running.full(program)) {
    reply({ class: 'busy', what: 'as many of it as may run together do', next: 'wait until one has ended' });
    return;
  }
  const streams = makeStreams(broker, program, request, reply);
  if (streams === undefined) return;
  const { theirs, ours, names } = streams;
  broker.running.start(program, permit, theirs, (started) => {
    let copy: OwnedFd | undefined;
    const runs = started.kind === 'runs' && permit.holds();
    const result = attempt(() => {
      if (runs) copy = copyOf(started.pidfd);
    });
    const failure = runs ? result : errnoOfFailure(started);
    reportGranted(broker, wish, permit.rule, { errno: failure, startedMs });
    if (runs && copy !== undefined) {
      const { pid, number } = started;
      ok(reply, { program: { pid, number, streams: [...names] } }, copy, ...ours);
      return;
    }
    for (const fd of ours) fd.close();
    if (runs) {
      broker.running.end(started.number, 'it could not be handed over');
      failed(reply, 'it could not be handed over, and was killed', result);
      return;
    }
    replyNotStarted(broker, started, reply);
  });
}

function errnoOfFailure(started: Started): number {
  if (started.kind === 'failed') return started.errno;
  return started.kind === 'timeout' ? errno.ETIMEDOUT : errno.ECANCELED;
}

function replyNotStarted(broker: Broker, started: Started, reply: Reply): void {
  switch (started.kind) {
    case 'failed':
      failed(reply, `it could not be started: ${started.what}`, started.errno);
      return;
    case 'timeout':
      reply({ class: 'timeout', what: 'the launcher did not start it in time' });
      return;
    case 'runs':
    case 'withdrawn':
      replyWithdrawn(broker, reply);
  }
}

interface Streams {
  /** stdin and stdout of the program, or one socket that is both. */
  readonly theirs: readonly OwnedFd[];
  readonly ours: readonly OwnedFd[];
  /** What `ours` are. */
  readonly names: readonly StreamName[];
}

/** Undefined when it was answered already. */
function makeStreams(
  broker: Broker,
  { stdio }: NamedProgram,
  { input, output }: ExecRequest,
  reply: Reply,
): Streams | undefined {
  if (stdio === 'socket') {
    if (input !== undefined || output !== undefined) {
      failed(reply, 'a program on one socket takes no files', errno.EINVAL);
      return undefined;
    }
    return pairs(['socket'], reply);
  }
  const files = { stdin: input, stdout: output };
  const opened = new Map<StreamName, OwnedFd>();
  for (const name of ['stdin', 'stdout'] as const) {
    const path = files[name];
    if (path === undefined) continue;
    const file = openStream(broker, path, name === 'stdin' ? 'ro' : 'wo', reply);
    if (file === undefined) {
      for (const fd of opened.values()) fd.close();
      return undefined;
    }
    opened.set(name, file);
  }
  const made = pairs(
    (['stdin', 'stdout'] as const).filter((name) => !opened.has(name)),
    reply,
  );
  if (made === undefined) {
    for (const fd of opened.values()) fd.close();
    return undefined;
  }
  const theirs = (['stdin', 'stdout'] as const).map(
    (name) => opened.get(name) ?? (made.theirs[made.names.indexOf(name)] as OwnedFd),
  );
  return { ...made, theirs };
}

function pairs(names: readonly StreamName[], reply: Reply): Streams | undefined {
  const theirs: OwnedFd[] = [];
  const ours: OwnedFd[] = [];
  const result = attempt(() => {
    for (const _ of names) {
      const [one, other] = native.socketPair({ type: 'stream' });
      theirs.push(new OwnedFd(one));
      ours.push(new OwnedFd(other));
      setNonBlocking(one, false);
      setNonBlocking(other, false);
    }
  });
  if (result === 0) return { theirs, ours, names };
  for (const fd of [...theirs, ...ours]) fd.close();
  failed(reply, 'its streams could not be made', result);
  return undefined;
}

/** A file in place of a stream, judged as an open of its own. */
function openStream(broker: Broker, text: string, access: 'ro' | 'wo', reply: Reply): OwnedFd | undefined {
  const startedMs = performance.now();
  const path = parseOrFail(() => normalisePath(text), reply);
  if (path === undefined) return undefined;
  const wish: OpenWish = { request: 'open', path, access };
  const permit: Permit | undefined = judgeRequest(broker, wish, startedMs, reply);
  if (permit === undefined) return undefined;
  let file: OwnedFd | undefined;
  let fulfilled = wish;
  // Not O_TRUNC: who starts the program empties its output, when it is known to start.
  const flags = access === 'ro' ? constants.O_RDONLY : constants.O_WRONLY | constants.O_CREAT;
  const result = attempt(() => {
    ({ file, wish: fulfilled } = openWish(broker.authority, wish, { flags, mode: createMode }));
  });
  reportGranted(broker, fulfilled, permit.rule, { errno: result, startedMs });
  if (file === undefined) failed(reply, `its ${access === 'ro' ? 'input' : 'output'} could not be opened`, result);
  return file;
}

/** For who asked: ours goes on to say which process is killed when its time is over. */
function copyOf(fd: OwnedFd): OwnedFd {
  using self = new OwnedFd(native.openPidfd({ pid: process.pid, thread: false }));
  return new OwnedFd(native.getFdOfProcess({ pidfd: self.fd, fd: fd.fd }));
}
