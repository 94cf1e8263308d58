// SPDX-License-Identifier: Apache-2.0
// What the broker is granted while the VM runs: by the launcher, and by the adapter for the time of one operation.
import type { BrokerClient, GrantRequest } from '../broker/client.ts';
import { deferred } from '../deferred.ts';
import { RatchetError } from '../errors.ts';
import { checkTarget } from '../policy/broker-rules.ts';
import { ceilingOf, checkProgramExists } from '../policy/index.ts';
import type { ResolvedProfile } from '../policy/types.ts';
import { type Lease, noLease } from '../qemu/fd-source.ts';
import type { Vmm } from '../vmm/vmm.ts';
import { RuntimeGrant, type RuntimeGrantOptions } from './runtime-grant.ts';

/** Who is granted more, in which stage. */
export interface Granting {
  /** The broker's, whichever serves by then. */
  readonly client: () => BrokerClient;
  readonly profile: ResolvedProfile;
  readonly epoch: number;
  readonly vmm: Vmm;
}

/** @throws RatchetError REQUEST_REFUSED, ADDRESS_INVALID, STAGE_UNKNOWN, ARGUMENT_INVALID, BROKER_DIED. */
export async function grantMore(
  { client, profile, epoch, vmm }: Granting,
  options: RuntimeGrantOptions,
): Promise<RuntimeGrant> {
  const stages = profile.stages.map(({ name }) => name);
  const { request, target, uses, forMs, until, through } = options;
  const throughEpoch = through === undefined ? epoch : stages.indexOf(through);
  if (throughEpoch < 0)
    throw new RatchetError('STAGE_UNKNOWN', `the profile has no stage ${through}`, {
      next: `it has ${stages.join(', ')}`,
    });
  checkTarget(request, target);
  if (request === 'exec') checkProgramExists(profile, target);
  const migrationEnded = deferred<void>();
  // Listened for before it is granted: the migration may end at once.
  if (until === 'migration') {
    if (vmm.whenMigrationEnds === undefined)
      throw new RatchetError('ARGUMENT_INVALID', 'this VMM does not migrate, so no grant can end with a migration');
    await vmm.whenMigrationEnds(migrationEnded.resolve);
  }
  const grant = await giveGrant(client(), {
    request,
    target,
    throughEpoch,
    ...(uses === undefined ? {} : { uses }),
    ...(forMs === undefined ? {} : { forMs }),
    ...(until === undefined ? {} : { until: 'the migration has ended' }),
  });
  void migrationEnded.promise.then(() => grant.revoke()).catch(() => undefined);
  return grant;
}

/** For one operation of the adapter. What the profile grants for good needs no grant, and what it lets nobody grant is refused by the request itself. */
export async function grantLease(
  { client, profile, epoch }: Granting,
  { request, target, uses, until }: Lease,
): Promise<AsyncDisposable> {
  const stage = profile.stages[epoch];
  // A star in a name would be a pattern.
  const ceiling = stage === undefined || target.includes('*') ? undefined : ceilingOf(stage, request, target);
  if (ceiling?.mayGrant !== true) return noLease;
  return await giveGrant(client(), {
    request,
    target,
    throughEpoch: epoch,
    until,
    ...(uses === undefined ? {} : { uses }),
  });
}

async function giveGrant(client: BrokerClient, terms: GrantRequest): Promise<RuntimeGrant> {
  return new RuntimeGrant(client, await client.grant(terms), terms);
}
