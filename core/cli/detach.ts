// SPDX-License-Identifier: Apache-2.0
// `ratchet run --detach`: the launcher goes on in a session of its own, so that whoever started it may end or be restarted; it and its VM are reached by the control
// socket. A VMM never outlives its launcher (nobody would answer for its stages), so it is the launcher that has to outlive.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { controlRequest } from '../control/client.ts';
import { RatchetError } from '../errors.ts';
import type { GroupStatus } from '../group/group-report.ts';
import type { SandboxStatus } from '../launch/sandbox-status.ts';
import { print } from './output.ts';

const lookEveryMs = 50;

/** Starts this same command again without `--detach`, and returns when its VM or group is in its stage: 0, or the status that it ended with. What it prints goes to `CONTROL.log`. */
export async function detach(control: string): Promise<number> {
  const log = `${control}.log`;
  const logFd = openLog(log);
  const args = withoutDetach(process.argv.slice(1));
  const launcher = spawn(process.execPath, [...process.execArgv, ...args], {
    detached: true,
    stdio: ['ignore', logFd, logFd],
  });
  closeSync(logFd);
  const ended = once(launcher, 'exit').then(([code]) => (code as number | null) ?? 125);
  const status = await Promise.race([ended, untilServed(control, launcher)]);
  if (typeof status === 'number') {
    print(`the launcher has ended with status ${status}; what it said is in ${log}`);
    return status;
  }
  launcher.unref();
  print(`launcher pid ${launcher.pid}, ${describe(status)}; go on with \`ratchet ctl ${control}\``);
  return 0;
}

/** Up to `--`: what follows is the VMM's own. */
function withoutDetach(args: readonly string[]): readonly string[] {
  const end = args.indexOf('--');
  const own = end < 0 ? args.length : end;
  return args.filter((arg, index) => index >= own || arg !== '--detach');
}

/** The socket is bound before there is a VM, and answers when there is one. */
async function untilServed(control: string, launcher: ChildProcess): Promise<SandboxStatus | GroupStatus> {
  for (;;) {
    try {
      return (await controlRequest(control, 'status')) as SandboxStatus | GroupStatus;
    } catch (error) {
      if (launcher.exitCode !== null) throw error;
      await delay(lookEveryMs);
    }
  }
}

function describe(status: SandboxStatus | GroupStatus): string {
  if (!('members' in status)) return `${status.vmm} pid ${status.pid}, stage ${status.stage}`;
  return `group ${status.group} of ${Object.keys(status.members).join(', ')}`;
}

function openLog(path: string): number {
  try {
    return openSync(path, 'a', 0o600);
  } catch (cause) {
    throw new RatchetError('ARGUMENT_INVALID', `${path} cannot be written`, {
      errno: (cause as NodeJS.ErrnoException).code ?? 'EIO',
      next: 'choose another path with --control',
      cause,
    });
  }
}
