// SPDX-License-Identifier: Apache-2.0
import type { QmpClient } from './qmp-client.ts';

const node = 'ratchet-warm-up';

/**
 * Opens and closes one block node, on /dev/null. With its first node of a file QEMU probes for OFD locks by opening /dev/null
 * (util/osdep.c, `qemu_probe_lock_ops`), once in its life; if that is refused, it silently leaves all images unlocked. So the first
 * one must come while opening is still permitted.
 */
export async function warmUpFileLocks(qmp: QmpClient): Promise<void> {
  await qmp.execute('blockdev-add', {
    driver: 'host_device',
    'node-name': node,
    filename: '/dev/null',
    'read-only': true,
  });
  await qmp.execute('blockdev-del', { 'node-name': node });
}
