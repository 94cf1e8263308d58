// SPDX-License-Identifier: Apache-2.0
import { controlledSandbox } from '../control/commands.ts';
import type { ControlServer } from '../control/server.ts';
import { EventStream } from '../launch/events.ts';
import { shellStatus } from '../launch/exit-status.ts';
import { launchVmm } from '../launch/launch.ts';
import { printRefusals } from '../launch/print-refusals.ts';
import type { Sandbox } from '../launch/sandbox.ts';
import { type Grant, parseGrant } from '../policy/index.ts';
import { openDoors } from '../systemd/doors.ts';
import { ServiceManager } from '../systemd/service-manager.ts';
import { tellManager } from '../systemd/tell-manager.ts';
import type { Vmm } from '../vmm/vmm.ts';
import { detach } from './detach.ts';
import { checkWritable, keepReport } from './keep-report.ts';
import { complain } from './output.ts';
import { controlPath, parseOptional, type RunOptions } from './run-options.ts';
import { whenSignalled } from './when-signalled.ts';

/** Runs a VMM under its profile until it ends; the status is its own. */
export async function runVmm(command: readonly [string, ...string[]], options: RunOptions): Promise<number> {
  const allow: Grant[] = options.allow.map((text) => parseGrant(text, '--allow'));
  const mayGrant: Grant[] = options.mayGrant.map((text) => parseGrant(text, '--may-grant'));
  if (options.report !== undefined) checkWritable(options.report);
  const control = controlPath(options);
  if (options.detach === true) return await detach(control ?? '');
  const { signal: ending, status: signalStatus } = whenSignalled();
  const manager = ServiceManager.find(complain);
  const { control: server, agents, ownedPaths } = await openDoors({ control, agents: options.agents }, manager);
  const events = new EventStream();
  const told = printRefusals(events, complain);
  let sandbox: Sandbox<Vmm> | undefined;
  try {
    sandbox = await launchVmm({
      command,
      features: options.feature,
      allow,
      mayGrant,
      stdio: ['inherit', 'inherit', 'inherit'],
      keepCapabilities: options.keepCapabilities ?? false,
      optional: options.optional.map(parseOptional),
      ...(options.soak === undefined ? {} : { soak: options.soak === true ? true : options.soak.split(',') }),
      ...(options.maxRefusals === undefined ? {} : { maxRefusals: options.maxRefusals }),
      ...(options.trail === undefined ? {} : { trail: options.trail }),
      ...(agents === undefined ? {} : { agents }),
      ...(options.brokerRestarts === undefined ? {} : { brokerRestarts: options.brokerRestarts }),
      ...(options.brokerNamespaces === undefined ? {} : { brokerNamespaces: options.brokerNamespaces }),
      signal: ending,
      events,
      ...(options.profile === undefined ? {} : { profile: options.profile }),
      ...(options.until === undefined ? {} : { until: options.until }),
      ownedPaths,
    });
    if (manager !== undefined) void tellManager(sandbox, manager, ending);
    return await follow(sandbox, { ending, server, report: options.report });
  } catch (error) {
    // Given up before there was a VM to end with a status of its own.
    const status = signalStatus();
    if (sandbox === undefined && status !== undefined) return status;
    throw error;
  } finally {
    manager?.stopping();
    await sandbox?.close();
    events.close();
    await told;
    await server?.close();
    await manager?.close();
  }
}

interface Followed {
  readonly ending: AbortSignal;
  readonly server: ControlServer | undefined;
  readonly report: string | undefined;
}

/** Serves the sandbox until its VMM ends, and gives the VMM's status. */
async function follow(sandbox: Sandbox<Vmm>, { ending, server, report }: Followed): Promise<number> {
  const reported =
    report === undefined ? undefined : keepReport(sandbox, report, sandbox.events[Symbol.asyncIterator]());
  if (ending.aborted) void sandbox.close();
  ending.addEventListener('abort', () => void sandbox.close());
  server?.serve(controlledSandbox(sandbox));
  process.on('SIGUSR2', () => void enterNext(sandbox));
  const status = await sandbox.exited;
  await reported;
  return shellStatus(status);
}

/** What SIGUSR2 asks for. A failure that ended the VMM is seen by its end; after any other it goes on where it was. */
async function enterNext(sandbox: Sandbox<Vmm>): Promise<void> {
  const next = sandbox.stages[sandbox.stages.indexOf(sandbox.stage) + 1];
  if (next === undefined) return complain(`${sandbox.stage} is the last stage`);
  await sandbox.enter(next).catch((error: Error) => complain(error.message));
}
