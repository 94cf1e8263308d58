// SPDX-License-Identifier: Apache-2.0
// The vCPU role under KVM, where a vCPU thread makes its calls between two KVM_RUN.
import { expect, test } from 'vitest';
import { scratch } from '../brokers/rig.ts';
import { workUnderKvm } from './kvm-guest.ts';

test.each([
  ['in soak, where all that its role would refuse is told', ['running']],
  ['under its filters', []],
] as const)(
  'a vCPU may call what disk and network I/O need, %s',
  async (_, soak) => {
    using folder = scratch();
    const { said, report, kvm, refused, written } = await workUnderKvm(folder.path, { rounds: 20, seconds: 0, soak });
    expect(said).not.toContain('fault');
    expect(written).toBe(true);
    expect(report.threads.filter(({ role }) => role === 'vcpu')).toHaveLength(1);
    expect(report.threads.filter(({ role }) => role === 'io')).toHaveLength(1);
    expect(kvm).toMatchObject({ enabled: true });
    expect(refused.filter(({ role }) => role === 'vcpu' || role === 'io')).toEqual([]);
  },
  120_000,
);
