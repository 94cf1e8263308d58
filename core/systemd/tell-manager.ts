// SPDX-License-Identifier: Apache-2.0
import type { Sandbox } from '../launch/sandbox.ts';
import type { Vmm } from '../vmm/vmm.ts';
import type { ServiceManager } from './service-manager.ts';

/** Ready now, and the stage whenever it changes; stopping as soon as somebody asks for the end. */
export async function tellManager(sandbox: Sandbox<Vmm>, manager: ServiceManager, ending: AbortSignal): Promise<void> {
  const words = (): string => `pid ${sandbox.pid}, stage ${sandbox.stage}`;
  // From here on, so that none is missed.
  const events = sandbox.events[Symbol.asyncIterator]();
  manager.ready(words());
  ending.addEventListener('abort', () => manager.stopping(), { once: true });
  for (let next = await events.next(); next.done !== true; next = await events.next())
    if (next.value.type === 'stage') manager.status(words());
}
