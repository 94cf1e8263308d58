// SPDX-License-Identifier: Apache-2.0
import { controlledGroup } from '../control/group-commands.ts';
import { RatchetError } from '../errors.ts';
import { launchGroup } from '../group/launch-group.ts';
import { EventStream, type SandboxEvent } from '../launch/events.ts';
import { shellStatus } from '../launch/exit-status.ts';
import { printRefusals } from '../launch/print-refusals.ts';
import { openDoors } from '../systemd/doors.ts';
import type { ServiceManager } from '../systemd/service-manager.ts';
import { keepReport } from './keep-report.ts';
import { complain } from './output.ts';

export interface RunGroupOptions {
  readonly file: string;
  readonly variables: Readonly<Record<string, string>>;
  /** The guest comes from another group. */
  readonly incoming: boolean;
  /** Where `ratchet ctl` finds the group. */
  readonly control: string | undefined;
  readonly report: string | undefined;
  readonly signal: AbortSignal;
  readonly manager: ServiceManager | undefined;
}

/** Runs a group until it ends; the status is that of the member whose end was the group's. */
export async function runGroup(options: RunGroupOptions): Promise<number> {
  const { file, variables, incoming, control, report, signal, manager } = options;
  // No manager: what a group binds itself ends with it.
  const doors = await openDoors({ control, agents: undefined }, undefined, { servesAgents: false });
  const { control: server, ownedPaths } = doors;
  const events = new EventStream();
  const reports = events[Symbol.asyncIterator]();
  const told = Promise.all([printRefusals(events, complain), printEnds(events)]);
  try {
    await using group = await launchGroup({
      group: file,
      variables,
      events,
      signal,
      incoming,
      ownedPaths,
    });
    if (signal.aborted) await group.stop();
    signal.addEventListener('abort', () => void group.stop());
    manager?.ready(`members ${group.members.join(', ')}`);
    signal.addEventListener('abort', () => manager?.stopping());
    if (report !== undefined) void keepReport(group, report, reports);
    server?.serve(controlledGroup(group));
    return shellStatus((await group.exited).status);
  } finally {
    manager?.stopping();
    events.close();
    await told;
    await manager?.close();
    await server?.close();
  }
}

/** `NAME=VALUE` of each `--set`. @throws RatchetError ARGUMENT_INVALID. */
export function parseVariables(texts: readonly string[]): Readonly<Record<string, string>> {
  return Object.fromEntries(
    texts.map((text) => {
      const equals = text.indexOf('=');
      if (equals > 0) return [text.slice(0, equals), text.slice(equals + 1)];
      throw new RatchetError('ARGUMENT_INVALID', `--set ${text} sets nothing`, { next: 'write --set NAME=VALUE' });
    }),
  );
}

async function printEnds(events: AsyncIterable<SandboxEvent>): Promise<void> {
  for await (const event of events)
    if (event.type === 'member')
      complain(
        event['what'] === 'restarted'
          ? `member ${event['member']} was restarted, pid ${event['pid']}`
          : `${event['words']}: ${event['next']}`,
      );
}
