// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { Stages } from '../../brokers/stages.ts';
import { decodeProfile, encodeProfile } from '../../core/broker/protocol.ts';
import { loadProfile } from '../../core/profile-files.ts';

test.each(['x86_64', 'aarch64', 'riscv64'] as const)(
  'the shipped QEMU profile for %s reaches the broker whole, and the broker can read every rule',
  (arch) => {
    const profile = loadProfile('qemu', { arch, features: [] });
    const received = decodeProfile(encodeProfile(profile));
    expect(received).toEqual(profile);
    expect(new Stages(received).count).toBe(profile.stages.length);
  },
);
