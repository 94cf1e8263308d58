// SPDX-License-Identifier: Apache-2.0
// A broker that follows one that died. Nothing that was granted once is granted again, and no stage is wider than the one before.

import { checkTarget } from '../core/policy/broker-rules.ts';
import { ceilingOf } from '../core/policy/grants.ts';
import type { BrokerRequestKind } from '../core/policy/types.ts';
import type { Broker } from './broker.ts';
import type { Journal, Snapshot } from './journal.ts';

/** Stage, counters and grants as the journal has them. What it says is believed only within what the profile permits. */
export function restore(broker: Broker, journal: Journal): void {
  const { stages, grants, reporter, bound, programs, own, patience } = broker;
  if (journal.epoch > 0) stages.move(journal.epoch);
  if (stages.grantsNothingMore) own.seal();
  if (journal.programStarted) programs.take();
  const { allowed, denied } = journal.counts;
  reporter.allowed = allowed;
  reporter.denied = denied;
  patience.continueFrom(journal.refusals);
  const snapshot = readSnapshot(broker, journal);
  if (snapshot === undefined) return;
  grants.continueFrom(snapshot.nextGrant);
  for (const grant of snapshot.grants)
    if (isPermitted(broker, grant)) grants.restore({ ...grant, request: grant.request as BrokerRequestKind });
  for (const made of snapshot.bound) bound.remember(made);
}

function readSnapshot({ reporter }: Broker, journal: Journal): Snapshot | undefined {
  try {
    return journal.read();
  } catch (error) {
    reporter.broker('the grants of the broker before could not be read: they have ended', { error });
    return undefined;
  }
}

function isPermitted({ stages }: Broker, grant: Snapshot['grants'][number]): boolean {
  const request = grant.request as BrokerRequestKind;
  try {
    checkTarget(request, grant.target);
  } catch {
    return false;
  }
  return (
    grant.throughEpoch >= stages.epoch &&
    stages.profile.stages
      .slice(stages.epoch, grant.throughEpoch + 1)
      .every((stage) => ceilingOf(stage, request, grant.target) !== undefined)
  );
}
