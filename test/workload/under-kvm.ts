// SPDX-License-Identifier: Apache-2.0
// What guests of our own do under KVM, in a machine of its own beside the others.
import { existsSync, mkdtempSync } from 'node:fs';
import { join } from 'node:path';
import { describeRefusal } from '../../core/launch/describe-refusal.ts';
import { kvmFeatures, workUnderKvm } from '../launch/kvm-guest.ts';
import { isForeseen } from '../matrix/runner.ts';
import type { WorkReport } from './run.ts';

export const kvmLoad = { name: 'kvm: virtio-blk on an iothread, IDE, NE2000' } as const;
/** A sector to and from each of two disks. */
const bytesPerRound = 4 * 512;

export async function runUnderKvm(folder: string, seconds: number): Promise<WorkReport> {
  const blank = { ...kvmLoad, features: kvmFeatures, turns: 0, mebibytes: 0 };
  if (!existsSync('/dev/kvm'))
    return { results: [{ ...blank, outcome: 'not run here', detail: 'there is no /dev/kvm' }], refusals: [] };
  const work = await workUnderKvm(mkdtempSync(join(folder, 'kvm-')), { rounds: 20, seconds, soak: [] });
  const ok = work.written && !work.said.includes('fault');
  const mebibytes = Math.round((work.rounds * bytesPerRound) / 2 ** 20);
  return {
    results: [
      {
        ...blank,
        turns: work.rounds,
        mebibytes,
        outcome: ok ? 'works' : 'failed',
        detail: ok ? '' : 'other bytes came back',
      },
    ],
    refusals: work.refused.filter((event) => !isForeseen(event)).map(describeRefusal),
  };
}
