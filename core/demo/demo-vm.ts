// SPDX-License-Identifier: Apache-2.0
import { launch } from '../launch/launch.ts';
import type { Sandbox } from '../launch/sandbox.ts';
import type { Grant } from '../policy/index.ts';
import { type Guest, guestArguments } from './guest.ts';
import { GuestConsole } from './guest-console.ts';

export interface DemoVm extends AsyncDisposable {
  readonly sandbox: Sandbox;
  readonly console: GuestConsole;
}

/** A sandboxed QEMU with the demo's guest, paused in stage `start`, or with `-incoming defer` for a guest that comes over. */
export async function startDemoVm(options: {
  readonly guest: Guest;
  readonly allow: readonly Grant[];
  readonly until: string;
  readonly incoming: boolean;
  /** Removed when the VM is gone, even if this process was killed. */
  readonly ownedPaths: readonly string[];
}): Promise<DemoVm> {
  const sandbox = await launch({
    command: [
      'qemu-system-x86_64',
      ...guestArguments(options.guest),
      ...(options.incoming ? ['-incoming', 'defer'] : []),
    ],
    allow: options.allow,
    until: options.until,
    ownedPaths: options.ownedPaths,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  return { sandbox, console: new GuestConsole(sandbox.stdout), [Symbol.asyncDispose]: () => sandbox.close() };
}
