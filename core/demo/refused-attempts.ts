// SPDX-License-Identifier: Apache-2.0
// What a hostile or mistaken VMM may try once its vCPUs run. Each attempt must be refused, explained by an event, and survived.
import { deferred, withDeadline } from '../deferred.ts';
import type { SandboxEvent } from '../launch/events.ts';
import type { Sandbox } from '../launch/sandbox.ts';

export interface Attempt {
  readonly name: string;
  /** Makes the VMM try. What the monitor answers does not matter: the refusal's event is the proof. */
  readonly act: (sandbox: Sandbox) => Promise<unknown>;
  readonly isRefusal: (event: SandboxEvent) => boolean;
}

/** A program needs pipes or a socket pair to talk with its parent, then a process: whichever is asked for first is refused first. */
const spawning = ['pipe2', 'socketpair', 'clone', 'fork', 'vfork', 'execve'];

function isSpawning(event: SandboxEvent): boolean {
  return spawning.includes(String(event['syscall']));
}

function argument(event: SandboxEvent, name: string): unknown {
  return (event['args'] as Readonly<Record<string, unknown>>)[name];
}

/** @param port a loopback port that is not granted. */
export function attempts(port: number): readonly Attempt[] {
  return [
    {
      name: 'refused: a connection that is not granted',
      // Followed to its end: while a migration is under way QEMU turns the next one down before it tries anything.
      act: ({ vmm }) => vmm.migrate(`tcp:127.0.0.1:${port}`, { channels: 2 }),
      isRefusal: (event) => event['syscall'] === 'connect' && argument(event, 'address') === `tcp:127.0.0.1:${port}`,
    },
    {
      name: 'refused: migrate exec:',
      act: ({ vmm }) => vmm.qmp.executeAny('migrate', { uri: 'exec:cat > /tmp/ratchet-demo-escape' }),
      isRefusal: isSpawning,
    },
    {
      name: 'refused: opening a file that is not granted',
      act: ({ vmm }) =>
        vmm.qmp.executeAny('blockdev-add', {
          driver: 'file',
          'node-name': 'escape',
          filename: '/etc/shadow',
          'read-only': true,
        }),
      isRefusal: (event) => argument(event, 'path') === '/etc/shadow',
    },
    {
      name: 'refused: an HMP command that would spawn',
      act: ({ vmm }) => vmm.hmp('netdev_add bridge,id=escape,br=br0,helper=/usr/lib/qemu/qemu-bridge-helper'),
      isRefusal: isSpawning,
    },
  ];
}

const refusalMs = 10_000;

/** Makes the attempt and waits for its refusal. @throws when none is reported. */
export async function attempt(sandbox: Sandbox, { act, name, isRefusal }: Attempt): Promise<SandboxEvent> {
  const refusal = deferred<SandboxEvent>();
  const reader = sandbox.events[Symbol.asyncIterator]();
  const follow = async (): Promise<void> => {
    for (let next = await reader.next(); next.done !== true; next = await reader.next()) {
      const { value: event } = next;
      if (event.type === 'refusal' && isRefusal(event)) return refusal.resolve(event);
    }
  };
  void follow();
  try {
    const answer = await act(sandbox).catch((error: Error) => error.message);
    return await withDeadline(
      refusal.promise,
      refusalMs,
      () => new Error(`no refusal was reported for: ${name}; QEMU answered ${JSON.stringify(answer)}`),
    );
  } finally {
    await reader.return?.();
  }
}
