// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process';
import { constants } from 'node:os';
import { native } from '../../native/index.ts';
import { exitOf, shellStatus } from '../launch/exit-status.ts';
import { findProgram } from '../launch/find-program.ts';

const marker = 'RATCHET_DEMO_NETWORK';

/**
 * Runs this command again inside a network namespace of its own, so that no packet of the demo can reach another machine. Returns the
 * exit status of that run, or undefined when this process already is inside.
 */
export async function inOwnNetwork(): Promise<number | undefined> {
  if (process.env[marker] === 'own') {
    // Who started us may be killed: then this run ends as well, and cleans up.
    native.setParentDeathSignal({ signal: constants.signals.SIGTERM });
    native.setInterfaceUp({ name: 'lo', up: true });
    return undefined;
  }
  const namespaces = process.getuid?.() === 0 ? ['--net'] : ['--user', '--map-root-user', '--net'];
  const child = spawn(findProgram('unshare'), [...namespaces, '--', process.execPath, ...process.argv.slice(1)], {
    stdio: 'inherit',
    env: { ...process.env, [marker]: 'own' },
  });
  const passOn = (signal: NodeJS.Signals): void => void child.kill(signal);
  process.on('SIGTERM', passOn).on('SIGHUP', passOn);
  // A terminal sends Ctrl-C to both; the inner one cleans up and ends, and so do we then.
  process.on('SIGINT', () => undefined);
  return shellStatus(await exitOf(child));
}
