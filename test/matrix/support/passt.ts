// SPDX-License-Identifier: Apache-2.0
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { waitFor } from '../../launch/processes.ts';
import type { Scene } from '../scene.ts';
import { guestIp, peerIp } from './nic.ts';

/** Since its version 2024_11_27. */
export function knowsVhostUser(): boolean {
  try {
    return execFileSync('passt', ['--help'], { encoding: 'utf8', stdio: 'pipe' }).includes('--vhost-user');
  } catch {
    // None is installed.
    return false;
  }
}

/**
 * Runs passt on a unix socket for as long as the row lasts. The guest reaches this machine's loopback at its gateway's address. passt takes its
 * settings from an interface with a default route: one is made, in the network namespace that the matrix runs in.
 */
export async function startPasst(scene: Scene, path: string, ...options: readonly string[]): Promise<void> {
  const number = interfaces++;
  const interfaceName = `matrix9${number}`;
  const ip = (...args: readonly string[]) => execFileSync('ip', args, { stdio: 'pipe' });
  ip('tuntap', 'add', 'dev', interfaceName, 'mode', 'tap');
  scene.onEnd(() => ip('link', 'del', interfaceName));
  ip('address', 'add', '198.51.100.2/24', 'dev', interfaceName);
  ip('link', 'set', interfaceName, 'up');
  ip('route', 'add', 'default', 'via', '198.51.100.1', 'dev', interfaceName, 'metric', `${100 + number}`);
  const addresses = ['-4', '-a', guestIp, '-n', '24', '-g', peerIp, '-t', 'none', '-u', 'none'];
  const passt = spawn('passt', ['-f', '-s', path, '-i', interfaceName, '--runas', '0', ...addresses, ...options], {
    stdio: 'ignore',
  });
  scene.onEnd(async () => {
    passt.kill();
    if (passt.exitCode === null && passt.signalCode === null) await once(passt, 'exit');
  });
  await waitFor('the socket of passt', () => listens(path));
}
let interfaces = 0;

/** It takes one connection, so none is spent on finding out. */
function listens(path: string): boolean {
  const acceptsConnections = '00010000';
  const sockets = readFileSync('/proc/net/unix', 'utf8').split('\n');
  return sockets.some((line) => line.endsWith(` ${path}`) && line.split(' ')[3] === acceptsConnections);
}
