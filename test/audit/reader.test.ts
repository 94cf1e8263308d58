// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { explainKill } from '../../core/launch/explain-kill.ts';
import { loadProfile } from '../../core/profile-files.ts';
import { packagePath } from '../../native/package-path.ts';

const nobody = 65534;

test('a user without rights is told which right is missing', () => {
  const text = execFileSync(process.execPath, [packagePath('test/audit/reader.mjs')], {
    uid: nobody,
    gid: nobody,
    encoding: 'utf8',
  });
  const { available, reason } = JSON.parse(text) as { available: boolean; reason: string };
  // Who may read the kernel log is the machine's setting.
  const open = readFileSync('/proc/sys/kernel/dmesg_restrict', 'utf8').trim() === '0';
  expect(available).toBe(open);
  if (!open) expect(reason).toMatch(/netlink E\w+ \(needs CAP_AUDIT_READ\), \/dev\/kmsg E\w+ \(needs CAP_SYSLOG/);
});

test('without a record a kill is explained by the rules that kill', () => {
  const [, running] = loadProfile('qemu').stages;
  if (running === undefined) throw new Error('the profile of QEMU has no second stage');
  const { syscall, rule, words } = explainKill(running, undefined, 'nobody may read it');
  expect([syscall, rule]).toEqual([null, null]);
  expect(words).toMatch(/nobody may read it/);
  expect(words).toMatch(/any call of another ABI \(x32, i386\)/);
});
