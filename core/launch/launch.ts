// SPDX-License-Identifier: Apache-2.0
import { basename } from 'node:path';
import { native } from '../../native/index.ts';
import { compileProfile } from '../compiler/index.ts';
import { withDeadline } from '../deferred.ts';
import { RatchetError } from '../errors.ts';
import { keepInspectorShut } from '../keep-inspector-shut.ts';
import { Cgroup } from '../layers/cgroup.ts';
import { environmentFor, type LayerPlan, planLayers, stagerWords } from '../layers/plan.ts';
import { requireLayers } from '../layers/require.ts';
import { OwnedFd } from '../owned-fd.ts';
import { assertLaunchable, withGrants, withSoak } from '../policy/index.ts';
import type { ResolvedProfile } from '../policy/types.ts';
import { countsOption } from '../profile-counts.ts';
import { hostArch, loadLayers, loadProfile } from '../profile-files.ts';
import { preparePrograms } from '../programs/prepare.ts';
import { ProgramRunner } from '../programs/runner.ts';
import { qemuAdapter } from '../qemu/adapter.ts';
import type { Qemu } from '../qemu/qemu.ts';
import { ownFilterCount } from '../stages/tasks.ts';
import { type AdapterLimits, adapterFor, defaultProfile } from '../vmm/adapters.ts';
import type { PreparedVmm, Vmm } from '../vmm/vmm.ts';
import { bindAgentDoor } from './agent-door.ts';
import { assertNeeds } from './assert-needs.ts';
import { assertRolesCanBeGiven } from './assert-roles.ts';
import { BrokerKeeper } from './broker-keeper.ts';
import { EventStream } from './events.ts';
import { describeExit, type ExitStatus } from './exit-status.ts';
import { featureFinder } from './feature-finder.ts';
import { findProgram } from './find-program.ts';
import { killByPidfd } from './kill.ts';
import type { LaunchOptions } from './options.ts';
import { OutputTail } from './output-tail.ts';
import { pinHosts } from './pin-hosts.ts';
import { RefusalsMeanwhile } from './refused-meanwhile.ts';
import { Sandbox } from './sandbox.ts';
import { prepareEmptiers } from './sandbox-layers.ts';
import { type StagedProcess, startStaged } from './stager.ts';
import { TrailFile } from './trail-file.ts';

/** Within a minute. */
const defaultBrokerRestarts = 3;
const defaultDeadlineMs = 30_000;
/** For what was killed to be gone. */
const endDeadlineMs = 10_000;

/**
 * Starts QEMU under the first stage of its profile, waits until its machine is built and paused, enters the next stage and lets it run.
 * @throws RatchetError; nothing is left running then.
 */
export async function launch(options: LaunchOptions): Promise<Sandbox> {
  const sandbox = await launchVmm(options, { only: qemuAdapter.name });
  return sandbox as Sandbox<Vmm> as Sandbox<Qemu>;
}

export interface LaunchLimits extends AdapterLimits {
  /** Whoever launches enters the later stages, and lets it run. */
  readonly stayInFirst?: boolean;
}

/**
 * As `launch()`, for whatever VMM or helper the profile is for (its key `vmm`). One whose set-up has no end that can be seen from outside stays in the first stage,
 * unless `until` says otherwise: it asks for the next stage itself, or its launcher does.
 * @throws RatchetError; nothing is left running then.
 */
export async function launchVmm(
  options: LaunchOptions,
  { stayInFirst = false, ...limits }: LaunchLimits = {},
): Promise<Sandbox<Vmm>> {
  keepInspectorShut();
  const deadlineMs = options.deadlineMs ?? defaultDeadlineMs;
  const [vmmName, ...vmmArguments] = options.command;
  const path = findProgram(vmmName);
  const loaded = loadProfile(options.profile ?? defaultProfile(path), {
    arch: hostArch(),
    features: options.features ?? [],
  });
  const granted = withGrants(loaded, options.allow ?? [], options.mayGrant ?? []);
  const profile = await pinHosts(options.soak === undefined ? granted : withSoak(granted, options.soak));
  assertLaunchable(profile);
  const compiled = compileProfile(profile, countsOption(profile));
  const first = compiled.stages[0];
  if (first === undefined) throw new RatchetError('PROFILE_INVALID', `profile ${profile.name} has no stage`);

  const adapter = adapterFor(profile, limits);
  assertRolesCanBeGiven(profile, adapter.filterableRoles);
  const usual = adapter.hasBarrier && !stayInFirst ? compiled.stages[1]?.name : undefined;
  const until = options.until ?? usual ?? first.name;
  const toEnter = stagesUpTo(
    compiled.stages.map(({ name }) => name),
    until,
  );
  const channelNumber = firstFree(options.inherit ?? new Map());
  const prepared = adapter.prepare(vmmArguments, { channelFd: channelNumber });
  const layers = planFor(options, profile, path, prepared);
  options.signal?.throwIfAborted();

  const events = options.events ?? new EventStream();
  const programs = new ProgramRunner({ prepared: preparePrograms(profile), events, deadlineMs });
  const broker = await BrokerKeeper.start(
    {
      profile,
      programs,
      log: options.trail === undefined ? (options.brokerLog ?? 'ignore') : TrailFile.open(options.trail),
      ownedPaths: [
        ...(options.ownedPaths ?? []),
        ...(options.agents !== undefined && 'path' in options.agents ? [options.agents.path] : []),
      ],
      agents: agentDoor(options.agents),
      namespaces: options.brokerNamespaces,
      privilegedVmm: options.keepCapabilities ?? false,
      otherUser: layers?.user !== undefined,
      optional: options.optional ?? [],
      maxRefusals: options.maxRefusals ?? 0,
      deadlineMs,
    },
    options.brokerRestarts ?? defaultBrokerRestarts,
  );
  const startedMs = Date.now();
  let staged: StagedProcess | undefined;
  let cgroup: Cgroup | undefined;
  let sandbox: Sandbox<Vmm> | undefined;
  using refusals = new RefusalsMeanwhile(events);
  try {
    if (layers?.cgroup !== undefined) cgroup = Cgroup.make(layers.cgroup);
    const [ours, theirs] = native.socketPair({ type: 'stream' });
    using channelOurs = new OwnedFd(ours);
    using channelTheirs = new OwnedFd(theirs);
    const inherit = new Map([...(options.inherit ?? []), [channelNumber, channelTheirs.fd]]);
    const environment = options.environment ?? process.env;
    staged = await startStaged({
      path,
      argv: [vmmName, ...prepared.args],
      filter: first.program,
      inherit,
      stdio: options.stdio ?? ['ignore', 'inherit', 'pipe'],
      environment: {
        ...(layers === undefined ? environment : environmentFor(layers, environment)),
        ...prepared.environment,
      },
      rlimits: { core: 0, ...layers?.rlimits, ...options.rlimits },
      layers: layers === undefined ? [] : stagerWords(layers),
      dropCapabilities: !(options.keepCapabilities ?? false),
      ...(cgroup === undefined ? {} : { cgroupFd: cgroup.procsFd.fd }),
      deadlineMs,
    });
    // The VMM's is the last copy then: its end is seen.
    channelTheirs.close();
    const stderr = new OutputTail(
      staged.streams.stderr,
      options.stderr ?? (options.stdio === undefined ? process.stderr : undefined),
    );
    // Its exec waits for the broker, which has no listener yet.
    const atBirth = layers === undefined ? [] : requireLayers(staged.pid, layers, [0, 1, 2, ...inherit.keys()], cgroup);
    await broker.attachListener(staged.listener);
    sandbox = new Sandbox<Vmm>({
      adapter: prepared,
      profile,
      compiled,
      source: { name: profile.name, file: profile.file, features: options.features ?? [], arch: profile.arch },
      path,
      broker,
      brokerNamespaces: options.brokerNamespaces ?? [],
      process: staged,
      channelFd: channelOurs.release(),
      inheritedFilters: ownFilterCount(),
      featuresFor: featureFinder(options.profile ?? defaultProfile(path)),
      startedMs,
      layers:
        layers === undefined
          ? undefined
          : { plan: layers, atBirth, cgroup, emptiers: prepareEmptiers(layers, staged.pidfd.fd) },
      events,
      programs,
      deadlineMs,
    });
    await untilBuilt({ sandbox, staged, stderr, path, deadlineMs, signal: options.signal });
    assertNeeds((await sandbox.vmm.needs?.()) ?? [], profile, toEnter);
    await sandbox.tellAhead();
    for (const stage of toEnter) await sandbox.enter(stage);
    options.signal?.throwIfAborted();
    if (until !== first.name) await sandbox.letRun();
    return sandbox;
  } catch (error) {
    // What went wrong first is told.
    if (sandbox !== undefined) await sandbox.kill().catch(() => undefined);
    else await abandon(staged, cgroup, broker, programs);
    if (error instanceof RatchetError && error.code === 'VMM_EXITED') refusals.explainDeath(error);
    throw error;
  }
}

/** Undefined when only the filters were asked for. @throws RatchetError PROFILE_INVALID, KERNEL_UNSUPPORTED. */
function planFor(
  options: LaunchOptions,
  profile: ResolvedProfile,
  path: string,
  prepared: PreparedVmm<Vmm>,
): LayerPlan | undefined {
  if (options.layers === undefined) return undefined;
  const layers = loadLayers(options.profile ?? defaultProfile(path));
  if (layers === undefined)
    throw new RatchetError('PROFILE_INVALID', `profile ${profile.name} has no layers`, {
      next: 'write `layers` into it, or ask for none',
    });
  const plan = planLayers({ layers, profile, path, wanted: options.layers });
  const added = Object.keys(prepared.environment);
  return plan.environment === undefined ? plan : { ...plan, environment: [...plan.environment, ...added] };
}

interface Building {
  readonly sandbox: Sandbox<Vmm>;
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
    throw vmmExited(path, status, staged.streams.stderr === null ? undefined : stderr.text);
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
async function abandon(
  staged: StagedProcess | undefined,
  cgroup: Cgroup | undefined,
  broker: BrokerKeeper,
  programs: ProgramRunner,
): Promise<void> {
  if (staged !== undefined) {
    killByPidfd(staged.pidfd);
    await staged.exited;
    staged.pidfd.close();
    staged.listener.close();
  }
  try {
    await programs.close();
    await cgroup?.end(endDeadlineMs);
  } finally {
    await broker.end();
  }
}

function agentDoor(
  agents: LaunchOptions['agents'],
): { readonly socket: OwnedFd; readonly users: readonly number[] } | undefined {
  if (agents === undefined) return undefined;
  const socket = 'path' in agents ? bindAgentDoor(agents.path) : agents.listening;
  return { socket, users: agents.users ?? [process.geteuid?.() ?? 0] };
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
