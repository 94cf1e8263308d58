// SPDX-License-Identifier: Apache-2.0
import { describeRefusal } from '../launch/describe-refusal.ts';
import type { SandboxEvent } from '../launch/events.ts';
import type { Sandbox } from '../launch/sandbox.ts';
import type { Vmm } from '../vmm/vmm.ts';

/**
 * Performs a command. When it fails and the VMM was refused something meanwhile, the message tells that too, with the feature that would permit it: QEMU
 * says "Operation not permitted" at best.
 */
export async function tellingRefusals<T>(sandbox: Sandbox<Vmm>, act: () => Promise<T>): Promise<T> {
  const refusals: SandboxEvent[] = [];
  const stop = sandbox.events.watch((event) => {
    if (event.type === 'refusal' && event['door'] !== 'launcher') refusals.push(event);
  });
  try {
    return await act();
  } catch (error) {
    // The broker answers in order: what it had to tell of the command is here when this answer is.
    await sandbox.status().catch(() => undefined);
    const refusal = refusals.find(({ features }) => (features as readonly string[] | undefined)?.length) ?? refusals[0];
    if (refusal !== undefined && error instanceof Error)
      error.message += ` - meanwhile the VMM was refused ${describeRefusal(refusal)}`;
    throw error;
  } finally {
    stop();
  }
}
