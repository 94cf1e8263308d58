// SPDX-License-Identifier: Apache-2.0
import { type ChildProcess, spawn } from 'node:child_process';
import { native } from '../../native/index.ts';
import { packagePath } from '../../native/package-path.ts';
import { BrokerClient } from '../broker/client.ts';
import {
  brokerEnvironment,
  brokerNodeFlags,
  type Confinement,
  encodeConfinement,
  encodeProfile,
} from '../broker/protocol.ts';
import { withDeadline } from '../deferred.ts';
import { RatchetError } from '../errors.ts';
import { OwnedFd } from '../owned-fd.ts';
import type { ResolvedProfile } from '../policy/types.ts';
import type { ProgramRunner } from '../programs/runner.ts';
import { requireConfined } from './attest-broker.ts';
import { confinementFor } from './broker-confinement.ts';
import { type BrokerNamespace, checkNamespaces, failedStep, inNamespaces } from './broker-namespaces.ts';
import { exitOf } from './exit-status.ts';
import { TrailFile } from './trail-file.ts';

export interface BrokerProcess {
  readonly client: BrokerClient;
  readonly child: ChildProcess;
  readonly pid: number;
  /** What it took away from itself before its hello. */
  readonly confinement: Confinement;
}

export interface BrokerOptions {
  readonly profile: ResolvedProfile;
  readonly log: number | 'ignore' | 'inherit' | TrailFile;
  readonly ownedPaths: readonly string[];
  /** Where agents come to it. */
  readonly agents?: { readonly socket: OwnedFd; readonly users: readonly number[] } | undefined;
  /** The VMM is killed at this many; 0: never. */
  readonly maxRefusals?: number;
  /** Starts the programs that it orders. */
  readonly programs?: ProgramRunner;
  /** Kinds of namespaces that it gets for itself. */
  readonly namespaces?: readonly BrokerNamespace[] | undefined;
  /** For its hello. */
  readonly deadlineMs: number;
  /** Shared memory for the broker that may follow. */
  readonly journal: OwnedFd;
  /** The VMM keeps its capabilities. */
  readonly privilegedVmm?: boolean;
  /** The VMM is another user: only CAP_SYS_PTRACE may read its memory. */
  readonly otherUser?: boolean;
  /** `broker-landlock`: go on where the kernel has no Landlock. */
  readonly optional?: readonly string[];
}

/**
 * Starts the broker of one VM and waits for its hello. The broker's log, one JSON line a decision, goes to `log`.
 * It ends when our end of the channel closes, however that happens, and removes the socket files that it bound and `ownedPaths`.
 */
export async function startBroker(options: BrokerOptions): Promise<BrokerProcess> {
  checkNamespaces(options.namespaces ?? [], options.profile);
  const confinement = confinementFor({
    profile: options.profile,
    ownedPaths: options.ownedPaths,
    privilegedVmm: options.privilegedVmm ?? false,
    otherUser: options.otherUser ?? false,
    withoutLandlock: options.optional?.includes('broker-landlock') ?? false,
  });
  const [ours, theirs] = native.socketPair({ type: 'seqpacket' });
  const [status, stagerEnd] = native.socketPair({ type: 'seqpacket' });
  using stagerStatus = new OwnedFd(status);
  const child = spawnBroker(theirs, stagerEnd, options, confinement);
  const failedToStart = new Promise<never>((_, reject) => child.once('error', reject));
  const client = new BrokerClient(ours);
  options.programs?.serve(client);
  try {
    await withDeadline(Promise.race([client.ready(), failedToStart]), options.deadlineMs, () => new Error('no hello'));
  } catch (cause) {
    client.close();
    child.kill('SIGKILL');
    const failed = failedStep(stagerStatus);
    if (failed !== undefined)
      throw new RatchetError('STAGER_FAILED', `the broker was not put into namespaces of its own: step ${failed}`, {
        next: 'new namespaces take CAP_SYS_ADMIN',
        cause,
      });
    if (cause instanceof RatchetError && cause.code === 'SELF_FAILED') throw cause;
    throw new RatchetError('BROKER_DIED', 'the broker did not come up', {
      next: 'build the checkout with `npm run build` and look at the broker log',
      cause,
    });
  }
  failedToStart.catch(() => undefined);
  if (child.pid === undefined) throw new RatchetError('BROKER_DIED', 'the broker has no process id');
  try {
    requireConfined(child.pid, confinement, options.deadlineMs, options.namespaces);
    if (options.agents !== undefined) await client.acceptAgents(options.agents.socket, 'agent', options.agents.users);
  } catch (error) {
    client.close();
    child.kill('SIGKILL');
    throw error;
  }
  return { client, child, pid: child.pid, confinement };
}

/** Hears what the broker still has to tell, and ends it: by request, by the end of its channel, or, when it is stuck, by force. */
export async function endBroker({ client, child }: BrokerProcess): Promise<void> {
  const patienceMs = 2000;
  // Not reaped before its exit is known here, so the number is still its own.
  const timer = setTimeout(() => child.kill('SIGKILL'), patienceMs);
  try {
    await client.shutdown().catch(() => undefined);
    client.close();
    await exitOf(child);
  } finally {
    clearTimeout(timer);
  }
}

/** Our copy of the broker's end is closed before anyone waits on ours: a broker that dies must be seen to. */
function spawnBroker(theirs: number, status: number, options: BrokerOptions, own: Confinement): ChildProcess {
  using brokerEnd = new OwnedFd(theirs);
  using statusEnd = new OwnedFd(status);
  using profile = new OwnedFd(
    native.memfd({ name: 'ratchet-profile', data: encodeProfile(options.profile), seal: true }),
  );
  using confinement = new OwnedFd(
    native.memfd({ name: 'ratchet-confinement', data: encodeConfinement(own), seal: true }),
  );
  const within = inNamespaces(options.namespaces ?? []);
  return spawn(
    within[0] ?? process.execPath,
    [
      ...within.slice(1),
      ...brokerNodeFlags,
      packagePath('dist/brokers/main.js'),
      ...options.ownedPaths.flatMap((path) => ['--owns', path]),
      ...((options.maxRefusals ?? 0) > 0 ? ['--max-refusals', String(options.maxRefusals)] : []),
    ],
    {
      stdio: [
        'ignore',
        'ignore',
        options.log instanceof TrailFile ? options.log.fd : options.log,
        brokerEnd.fd,
        profile.fd,
        confinement.fd,
        options.journal.fd,
        ...(within.length === 0 ? [] : [statusEnd.fd]),
      ],
      env: brokerEnvironment,
    },
  );
}
