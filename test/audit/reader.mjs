// SPDX-License-Identifier: Apache-2.0
// Started by reader.test.ts as a user without rights: says whether the kernel's records can be read, and why not.
import { AuditReader } from '../../dist/core/audit/reader.js';

const reader = new AuditReader({ pid: process.pid, startedMs: Date.now() }, () => undefined);
process.stdout.write(JSON.stringify({ available: reader.available, reason: reader.reason }));
reader.close();
