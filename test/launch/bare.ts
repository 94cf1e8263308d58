// SPDX-License-Identifier: Apache-2.0

import { withDeadline } from '../../core/deferred.ts';
import type { SandboxEvent } from '../../core/launch/events.ts';
import { launch } from '../../core/launch/launch.ts';
import type { LaunchOptions } from '../../core/launch/options.ts';
import type { Sandbox } from '../../core/launch/sandbox.ts';
import { bareArguments } from '../qemu/unsandboxed.ts';

/** The smallest machine that there is, sandboxed. */
export async function launchBare(
  args: readonly string[] = [],
  options: Omit<LaunchOptions, 'command'> = {},
): Promise<Sandbox> {
  return await launch({
    command: ['qemu-system-x86_64', ...bareArguments, ...args],
    stdio: ['ignore', 'ignore', 'pipe'],
    ...options,
  });
}

/** The first event from now on that fits. Call it before what causes the event, await it after. */
export function nextEvent(
  sandbox: { readonly events: AsyncIterable<SandboxEvent> },
  fits: (event: SandboxEvent) => boolean,
  deadlineMs = 15_000,
): Promise<SandboxEvent> {
  const reader = sandbox.events[Symbol.asyncIterator]();
  const found = (async () => {
    for (let next = await reader.next(); next.done !== true; next = await reader.next())
      if (fits(next.value)) return next.value;
    throw new Error('the events ended before it');
  })();
  return withDeadline(found, deadlineMs, () => new Error('no such event')).finally(() => reader.return?.());
}
