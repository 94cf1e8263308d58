// SPDX-License-Identifier: Apache-2.0
// The sockets by which a running VM is reached: from the service manager, or bound here.
import { resolve } from 'node:path';
import { native } from '../../native/index.ts';
import { bindListening } from '../control/bind-listening.ts';
import { bindControl, type ControlServer, serveControl } from '../control/server.ts';
import { RatchetError } from '../errors.ts';
import { bindAgentDoor } from '../launch/agent-door.ts';
import type { LaunchOptions } from '../launch/options.ts';
import type { OwnedFd } from '../owned-fd.ts';
import { sockaddrToAddress } from '../policy/address/index.ts';
import { takePassedSockets } from './passed-sockets.ts';
import type { ServiceManager } from './service-manager.ts';

export interface Doors {
  readonly control: ControlServer | undefined;
  readonly agents: LaunchOptions['agents'];
  /** Files that are ours to remove. */
  readonly ownedPaths: readonly string[];
}

interface Paths {
  readonly control: string | undefined;
  readonly agents: string | undefined;
}

/**
 * A socket that the service manager passed takes the place of one that would be bound. Under a manager one that is bound here is given to it to keep, and
 * its file stays: it comes back after a restart, and who connects meanwhile waits.
 * @throws RatchetError ARGUMENT_INVALID, CONTROL_FAILED.
 */
export async function openDoors(
  paths: Paths,
  manager: ServiceManager | undefined,
  { servesAgents = true }: { readonly servesAgents?: boolean } = {},
): Promise<Doors> {
  const passed = takePassedSockets();
  if (passed.agents !== undefined && !servesAgents)
    throw new RatchetError('ARGUMENT_INVALID', 'a socket for agents was passed, and a group has none', {
      next: 'take ListenSequentialPacket= out of the socket unit',
    });
  const control = passed.control ?? kept('control', paths.control, manager);
  const agents = passed.agents ?? kept('agents', paths.agents, manager);
  assertSame('control', passed.control, paths.control);
  assertSame('agents', passed.agents, paths.agents);
  const ownControl = control === undefined ? paths.control : undefined;
  const ownAgents = paths.agents === undefined ? undefined : { path: paths.agents };
  return {
    control: await served(control, ownControl),
    agents: agents === undefined ? ownAgents : { listening: agents },
    ownedPaths: ownControl === undefined ? [] : [ownControl],
  };
}

async function served(socket: OwnedFd | undefined, path: string | undefined): Promise<ControlServer | undefined> {
  if (socket !== undefined) return await serveControl(socket);
  return path === undefined ? undefined : await bindControl(path);
}

function kept(kind: keyof Paths, path: string | undefined, manager: ServiceManager | undefined): OwnedFd | undefined {
  if (path === undefined || manager === undefined) return undefined;
  const socket =
    kind === 'agents'
      ? bindAgentDoor(path)
      : bindListening({ path, type: 'stream', what: 'control socket', option: '--control' });
  manager.keep(kind, socket);
  return socket;
}

/** A socket that was kept comes back beside the option by which it was bound. */
function assertSame(kind: keyof Paths, passed: OwnedFd | undefined, path: string | undefined): void {
  if (passed === undefined || path === undefined) return;
  const address = sockaddrToAddress(native.getSocketName({ fd: passed.fd }));
  if (address.kind === 'unix' && address.path === resolve(path)) return;
  throw new RatchetError('ARGUMENT_INVALID', `--${kind} ${path} is not the socket that the service manager passed`, {
    next: `leave --${kind} out, or take the socket out of the socket unit`,
  });
}
