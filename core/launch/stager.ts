// SPDX-License-Identifier: Apache-2.0
import { type ChildProcess, spawn } from 'node:child_process';
import { z } from 'zod';
import { native, type Received } from '../../native/index.ts';
import { packagePath } from '../../native/package-path.ts';
import { deferred } from '../deferred.ts';
import { errnoName } from '../errno-name.ts';
import { RatchetError } from '../errors.ts';
import { OwnedFd } from '../owned-fd.ts';
import { type ExitStatus, exitOf, exitOfSibling } from './exit-status.ts';
import { killByPidfd } from './kill.ts';
import { endStreams, openStreams, type StdioKind, type VmmStreams } from './vmm-streams.ts';

export interface StagedOptions {
  /** Absolute path of the program. */
  readonly path: string;
  /** The program's file itself (O_PATH), executed in place of what `path` leads to by then. */
  readonly programFd?: number;
  readonly argv: readonly string[];
  /** struct sock_filter array of the first stage. */
  readonly filter: Uint8Array;
  /** fds of ours that the program inherits, by the number that they get there. */
  readonly inherit: ReadonlyMap<number, number>;
  /** What becomes of the program's stdin, stdout and stderr. */
  readonly stdio: readonly [StdioKind | number, StdioKind | number, StdioKind];
  readonly environment: NodeJS.ProcessEnv;
  readonly rlimits: Readonly<Record<string, number>>;
  readonly dropCapabilities: boolean;
  /** Further words for the stager, as `stagerWords()` makes them. */
  readonly layers?: readonly string[];
  /** cgroup.procs of the control group that it is born in. */
  readonly cgroupFd?: number;
  readonly deadlineMs: number;
}

export interface StagedProcess {
  /** The stager that was started. Without a pid namespace it has become the program. */
  readonly child: ChildProcess;
  readonly streams: VmmStreams;
  /** Settles when the program has ended. */
  readonly exited: Promise<ExitStatus>;
  readonly pid: number;
  readonly pidfd: OwnedFd;
  readonly listener: OwnedFd;
  /** Whether the kernel took SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV. */
  readonly waitKillable: boolean;
  /** Whether the program's signals reach only itself and its children (Landlock, Linux 6.12). */
  readonly signalScope: boolean;
  /** Settles when the stager has become the program; rejects with the step that failed. */
  readonly executed: Promise<void>;
}

const statusMessage = z.union([
  z.strictObject({ step: z.literal('born'), pid: z.number().int().positive() }),
  z.strictObject({ step: z.literal('listener'), waitKillable: z.boolean(), signalScope: z.boolean() }),
  z.strictObject({ step: z.string(), errno: z.number().int() }),
]);

/**
 * Starts a program through the stager and returns as soon as its filter is on and the listener is here; the program's own first
 * instruction may already have run by then, or may wait for the listener to be served.
 * @throws RatchetError STAGER_FAILED naming the step and the errno.
 */
export async function startStaged(options: StagedOptions): Promise<StagedProcess> {
  const [statusOurs, statusTheirs] = native.socketPair({ type: 'seqpacket' }).map((fd) => new OwnedFd(fd)) as [
    OwnedFd,
    OwnedFd,
  ];
  const streams = openStreams(options.stdio);
  const child = await spawnStager(options, streams, statusTheirs).catch((cause: NodeJS.ErrnoException) => {
    statusOurs.close();
    endStreams(streams);
    throw new RatchetError('STAGER_FAILED', 'the stager could not be started', {
      errno: cause.code ?? 'EIO',
      next:
        cause.code === 'EBADF'
          ? 'one of the descriptors to be inherited is not open'
          : 'build it with `npm run build:native`',
      cause,
    });
  });
  // The child is not reaped before the event loop turns, so its pid cannot have been recycled here.
  const pidfd = new OwnedFd(native.openPidfd({ pid: child.pid, thread: false }));
  const stager: BornProcess = { pid: child.pid, pidfd, exited: exitOf(child) };
  return await readStatus({ statusFd: statusOurs, child, streams, stager, deadlineMs: options.deadlineMs });
}

/** Our copy of the stager's end is closed before anyone waits on ours: its death must be seen. */
async function spawnStager(
  options: StagedOptions,
  streams: VmmStreams,
  status: OwnedFd,
): Promise<ChildProcess & { readonly pid: number }> {
  using theirs = status;
  using ends = streams;
  using filter = new OwnedFd(native.memfd({ name: 'ratchet-filter', data: options.filter, seal: true }));
  const layout = layOutFds(options.inherit, {
    status: theirs.fd,
    filter: filter.fd,
    program: options.programFd,
    cgroup: options.cgroupFd,
  });
  const child = spawn(packagePath('build/Release/ratchet-stager'), stagerArguments(options, layout), {
    stdio: [...ends.stdio, ...layout.stdio.slice(3)],
    env: options.environment,
  });
  if (hasPid(child)) return child;
  return await new Promise((_, reject) => child.once('error', reject));
}

function hasPid(child: ChildProcess): child is ChildProcess & { readonly pid: number } {
  return child.pid !== undefined;
}

/** What only the stager has. */
interface OwnFds {
  readonly status: number;
  readonly filter: number;
  readonly program: number | undefined;
  readonly cgroup: number | undefined;
}

interface FdLayout {
  readonly statusFd: number;
  readonly filterFd: number;
  readonly programFd: number | undefined;
  readonly cgroupFd: number | undefined;
  readonly keep: readonly number[];
  readonly stdio: readonly ('ignore' | number)[];
}

/** Inherited fds keep the numbers that were asked for; the stager's own take the first numbers that are free. */
function layOutFds(inherit: ReadonlyMap<number, number>, { status, filter, program, cgroup }: OwnFds): FdLayout {
  const stdio: ('ignore' | number)[] = [];
  for (const [theirs, ours] of inherit) stdio[theirs] = ours;
  const takeFree = (fd: number): number => {
    let index = 3;
    while (stdio[index] !== undefined) index++;
    stdio[index] = fd;
    return index;
  };
  const statusFd = takeFree(status);
  const filterFd = takeFree(filter);
  const programFd = program === undefined ? undefined : takeFree(program);
  const cgroupFd = cgroup === undefined ? undefined : takeFree(cgroup);
  return {
    statusFd,
    filterFd,
    programFd,
    cgroupFd,
    keep: [0, 1, 2, ...inherit.keys()],
    stdio: Array.from(stdio, (fd) => fd ?? 'ignore'),
  };
}

function stagerArguments(options: StagedOptions, layout: FdLayout): string[] {
  const rlimits = Object.entries(options.rlimits).flatMap(([name, limit]) => [
    '--rlimit',
    `${name.toUpperCase()}=${limit}:${limit}`,
  ]);
  return [
    '--status-fd', String(layout.statusFd),
    '--filter-fd', String(layout.filterFd),
    '--keep', layout.keep.join(','),
    '--parent-pid', String(process.pid),
    ...rlimits,
    ...(options.dropCapabilities ? ['--drop-capabilities'] : []),
    ...(layout.cgroupFd === undefined ? [] : ['--cgroup-fd', String(layout.cgroupFd)]),
    ...(options.layers ?? []),
    '--scope-signals',
    '--exec', layout.programFd === undefined ? options.path : `/proc/self/fd/${layout.programFd}`,
    '--',
    ...options.argv,
  ]; // biome-ignore format: one option a line
}

/** Who becomes the program. */
interface BornProcess {
  readonly pid: number;
  readonly pidfd: OwnedFd;
  readonly exited: Promise<ExitStatus>;
}

interface StatusReader {
  readonly statusFd: OwnedFd;
  readonly child: ChildProcess;
  readonly streams: VmmStreams;
  readonly stager: BornProcess;
  readonly deadlineMs: number;
}

/** First packet: the listener, or the step that failed; before it, in a pid namespace, who goes on. Then end of file (exec'd), or the exec's own failure. */
function readStatus({ statusFd, child, streams, stager, deadlineMs }: StatusReader): Promise<StagedProcess> {
  return new Promise((resolve, reject) => {
    const executed = deferred();
    executed.promise.catch(() => undefined);
    let staged = false;
    let born = stager;
    const finish = (error?: RatchetError): void => {
      clearTimeout(timer);
      watch.close();
      statusFd.close();
      if (error === undefined) {
        executed.resolve();
        return;
      }
      executed.reject(error);
      if (staged) return;
      using ended = born.pidfd;
      killByPidfd(ended);
      // Nothing is left running when we say that it failed.
      void Promise.all([born.exited, stager.exited]).then(() => {
        endStreams(streams);
        reject(error);
      });
    };
    const timer = setTimeout(() => finish(failed('the hand-over of the listener', 'ETIMEDOUT')), deadlineMs);
    const watch = native.watchFd({ fd: statusFd.fd, readable: true, writable: false }, () => {
      const received = receiveStatus(statusFd.fd);
      if (received.kind === 'again') return;
      if (received.kind === 'broken') return finish(failed('report', 'EPROTO'));
      if (received.kind === 'end') return finish(staged ? undefined : failed('start', 'EPIPE'));
      const message = statusMessage.safeParse(parseJson(received.data));
      const listenerFd = received.fds[0];
      if (!message.success) return finish(failed('report', 'EPROTO'));
      if ('pid' in message.data) {
        if (received.fds[0] === undefined || born !== stager) return finish(failed('pid-namespace', 'EPROTO'));
        stager.pidfd.close();
        const { pid } = message.data;
        born = { pid, pidfd: new OwnedFd(received.fds[0]), exited: exitOfSibling(pid) };
        return;
      }
      if ('errno' in message.data) return finish(failed(message.data.step, errnoName(message.data.errno)));
      if (listenerFd === undefined) return finish(failed('listener', 'EPROTO'));
      staged = true;
      // A write to a program that has ended would be an error of ours.
      void born.exited.then(() => streams.stdin?.destroy());
      resolve({
        child,
        streams,
        ...born,
        listener: new OwnedFd(listenerFd),
        waitKillable: message.data.waitKillable,
        signalScope: message.data.signalScope,
        executed: executed.promise,
      });
    });
  });
}

/** Truncated or foreign control messages close all fds and throw. */
function receiveStatus(fd: number): Received | { readonly kind: 'broken' } {
  try {
    return native.receiveMessage({ fd, maxBytes: 4096, maxFds: 1 });
  } catch {
    return { kind: 'broken' };
  }
}

function parseJson(data: Buffer): unknown {
  try {
    return JSON.parse(data.toString('utf8'));
  } catch {
    return undefined;
  }
}

function failed(step: string, errno: string): RatchetError {
  return new RatchetError('STAGER_FAILED', `the stager failed at step ${step}`, {
    errno,
    next: stagerCures[step] ?? 'native/stager/steps.h says what each step needs',
  });
}

const stagerCures: Readonly<Record<string, string>> = {
  'exec-fd': 'raise the hard limit of open files to at least 16384 (LimitNOFILE= or ulimit -Hn)',
  filter:
    'the kernel refused the start filter: it needs seccomp user notification (Linux 5.0), and no other supervisor may have a listener (EBUSY)',
  namespaces:
    'new namespaces take CAP_SYS_ADMIN, or a kernel that permits user namespaces to users (kernel.unprivileged_userns_clone, user.max_user_namespaces)',
  cgroup:
    'the launcher may move processes only between groups that were delegated to it together: start it in one of them, or as root',
  landlock: 'Landlock refused the rules: `ratchet doctor` shows what this kernel has',
  'pid-namespace': 'it takes clone3 (Linux 5.3), which a container may forbid',
  root: 'it takes mount_setattr (Linux 5.12), and for a /proc of its own a /proc that nobody has covered in part, as containers do',
  mac: 'load the AppArmor profile (ENOENT), name a context that the SELinux policy knows (EINVAL), or permit the launcher to change into it (EACCES, EPERM)',
  user: 'becoming another user takes CAP_SETUID and CAP_SETGID',
  exec: 'check that the program is an executable of this machine, not a script; with a label, that its policy permits the launcher to change into it (EPERM, EACCES)',
};
