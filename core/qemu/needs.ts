// SPDX-License-Identifier: Apache-2.0
import type { VmmNeed } from '../vmm/vmm.ts';
import type { QmpClient } from './qmp-client.ts';
import type { QemuVersion } from './qmp-message.ts';

/** What QEMU does not survive the refusal of, as its machine is. */
export async function needsOf(qmp: QmpClient, version: QemuVersion): Promise<readonly VmmNeed[]> {
  if (version.major < 10) return [];
  const backends = (await qmp.executeAny('qom-list', { path: '/backend' })) as readonly { readonly type: string }[];
  if (!backends.some(({ type }) => type === graphicConsole)) return [];
  return [
    {
      syscall: 'memfd_create',
      because: `QEMU ${version.major}.${version.minor} has a graphics card and ends when it gets no shared memory for a picture of another size`,
      next: 'add the feature graphics (--feature graphics), or start QEMU without a graphics card (-nodefaults, -vga none)',
    },
  ];
}

/** As 8.2 and later name it; before, no picture was in shared memory. */
const graphicConsole = 'child<qemu-graphic-console>';
