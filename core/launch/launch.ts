// SPDX-License-Identifier: Apache-2.0
import { basename } from 'node:path';
import { native } from '../../native/index.ts';
import { compileProfile } from '../compiler/index.ts';
import { withDeadline } from '../deferred.ts';
import { RatchetError } from '../errors.ts';
import { OwnedFd } from '../owned-fd.ts';
import { withGrants } from '../policy/index.ts';
import { countsOption } from '../profile-counts.ts';
import { hostArch, loadProfile } from '../profile-files.ts';
import { prepareArguments } from '../qemu/arguments.ts';
import { ownFilterCount } from '../stages/tasks.ts';
import { type BrokerProcess, endBroker, startBroker } from './broker-process.ts';
import { describeExit, type ExitStatus, exitOf } from './exit-status.ts';
import { findProgram } from './find-program.ts';
import { killByPidfd } from './kill.ts';
import type { LaunchOptions } from './options.ts';
import { OutputTail } from './output-tail.ts';
import { Sandbox } from './sandbox.ts';
import { type StagedProcess, startStaged } from './stager.ts';

const defaultDeadlineMs = 30_000;

/**
 * Starts a VMM under the first stage of its profile, waits until its machine is built and paused, enters the next stage and lets it run.
 * @throws RatchetError; nothing is left running then.
 */
export async function launch(options: LaunchOptions): Promise<Sandbox> {
  const deadlineMs = options.deadlineMs ?? defaultDeadlineMs;
  const [vmmName, ...vmmArguments] = options.command;
  const path = findProgram(vmmName);
  const loaded = loadProfile(options.profile ?? defaultProfile(path), {
    arch: hostArch(),
    features: options.features ?? [],
  });
  const profile = withGrants(loaded, options.allow ?? []);
  const compiled = compileProfile(profile, countsOption(profile));
  const first = compiled.stages[0];
  if (first === undefined) throw new RatchetError('PROFILE_INVALID', `profile ${profile.name} has no stage`);

  const until = options.until ?? compiled.stages[1]?.name ?? first.name;
  const toEnter = stagesUpTo(
    compiled.stages.map(({ name }) => name),
    until,
  );
  const monitorNumber = firstFree(options.inherit ?? new Map());
  const prepared = prepareArguments(vmmArguments, { qmpFd: monitorNumber });
  options.signal?.throwIfAborted();

  const broker = await startBroker({
    profile,
    logFd: options.brokerLog ?? 'ignore',
    ownedPaths: options.ownedPaths ?? [],
    deadlineMs,
  });
  let staged: StagedProcess | undefined;
  let sandbox: Sandbox | undefined;
  try {
    const [qmpOurs, qmpTheirs] = native.socketPair({ type: 'stream' });
    using monitorOurs = new OwnedFd(qmpOurs);
    using monitorTheirs = new OwnedFd(qmpTheirs);
    staged = await startStaged({
      path,
      argv: [vmmName, ...prepared.args],
      filter: first.program,
      inherit: new Map([...(options.inherit ?? []), [monitorNumber, monitorTheirs.fd]]),
      stdio: options.stdio ?? ['ignore', 'inherit', 'pipe'],
      environment: options.environment ?? process.env,
      rlimits: { core: 0, ...options.rlimits },
      dropCapabilities: !(options.keepCapabilities ?? false),
      deadlineMs,
    });
    // QEMU's is the last copy then: its end is seen.
    monitorTheirs.close();
    const stderr = new OutputTail(staged.child.stderr, options.stdio === undefined ? process.stderr : undefined);
    await broker.client.attachListener(staged.listener);
    sandbox = new Sandbox({
      profile,
      compiled,
      path,
      broker,
      process: staged,
      monitorFd: monitorOurs.release(),
      inheritedFilters: ownFilterCount(),
      deadlineMs,
    });
    await untilBuilt({ sandbox, staged, stderr, path, deadlineMs, signal: options.signal });
    for (const stage of toEnter) await sandbox.enter(stage);
    options.signal?.throwIfAborted();
    if (until !== first.name && !prepared.userPaused) await letRun(sandbox, prepared.incoming);
    return sandbox;
  } catch (error) {
    if (sandbox !== undefined) await sandbox.kill();
    else await abandon(staged, broker);
    throw error;
  }
}

interface Building {
  readonly sandbox: Sandbox;
  readonly staged: StagedProcess;
  readonly stderr: OutputTail;
  readonly path: string;
  readonly deadlineMs: number;
  readonly signal: AbortSignal | undefined;
}

/** The barrier. A VMM that ends instead is told of with its status and its last words, whichever sign of its end came first. */
async function untilBuilt({ sandbox, staged, stderr, path, deadlineMs, signal }: Building): Promise<void> {
  // A stager that could not become the VMM ends too: `executed` rejects with its own words then.
  const died = Promise.all([sandbox.exited, stderr.ended, staged.executed]).then(([status]) => {
    throw vmmExited(path, status, staged.child.stderr === null ? undefined : stderr.text);
  });
  const built = staged.executed
    .then(() => sandbox.vmm.waitUntilBuilt(deadlineMs))
    .catch((error: unknown) => {
      // Its monitor ends when it does; its status says more.
      if ((error as RatchetError).code === 'QMP_CLOSED') return died;
      throw error;
    });
  const aborted = new Promise<never>((_, reject) => {
    // It may have been given up before this; then the event does not come again.
    if (signal?.aborted === true) reject(signal.reason);
    signal?.addEventListener('abort', () => reject(signal.reason), { once: true });
  });
  for (const loser of [died, built, aborted]) loser.catch(() => undefined);
  await withDeadline(Promise.race([built, died, aborted]), deadlineMs, () => notBuilt(path, deadlineMs));
}

function vmmExited(path: string, status: ExitStatus, words: string | undefined): RatchetError {
  const said =
    words === undefined
      ? 'what it said is on its stderr'
      : words === ''
        ? 'it wrote nothing to stderr'
        : `its last words:\n${words}`;
  return new RatchetError('VMM_EXITED', `${basename(path)} ${describeExit(status)} while it was set up; ${said}`);
}

/** Before there is a sandbox to do it. */
async function abandon(staged: StagedProcess | undefined, broker: BrokerProcess): Promise<void> {
  if (staged !== undefined) {
    killByPidfd(staged.pidfd);
    await exitOf(staged.child);
    staged.pidfd.close();
    staged.listener.close();
  }
  await endBroker(broker);
}

/** A guest that comes in runs when it has arrived; with `-incoming defer`, when `acceptMigration()` says so. */
async function letRun(sandbox: Sandbox, incoming: string | undefined): Promise<void> {
  if (incoming === undefined) return await sandbox.vmm.cont();
  // It may take hours, or the VM may end first: then there is nothing to let run.
  if (incoming !== 'defer') void sandbox.vmm.contWhenArrived().catch(() => undefined);
}

/** `qemu-system-x86_64` and friends use the profile `qemu`. */
function defaultProfile(path: string): string {
  const name = basename(path);
  if (name.startsWith('qemu-system-') || name === 'qemu-kvm') return 'qemu';
  throw new RatchetError('PROFILE_NOT_FOUND', `there is no shipped profile for ${name}`, {
    next: 'name one with --profile',
  });
}

function firstFree(inherit: ReadonlyMap<number, number>): number {
  let number = 3;
  while (inherit.has(number)) number++;
  return number;
}

function stagesUpTo(stages: readonly string[], until: string): readonly string[] {
  const index = stages.indexOf(until);
  if (index < 0)
    throw new RatchetError('STAGE_UNKNOWN', `the profile has no stage ${until}`, {
      next: `it has ${stages.join(', ')}`,
    });
  return stages.slice(1, index + 1);
}

function notBuilt(path: string, deadlineMs: number): RatchetError {
  return new RatchetError('QMP_TIMEOUT', `${basename(path)} did not build its machine within ${deadlineMs} ms`, {
    next: 'look at its stderr, or give a larger deadline',
  });
}
