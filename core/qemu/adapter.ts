// SPDX-License-Identifier: Apache-2.0
import type { Adapter } from '../vmm/vmm.ts';
import { prepareArguments } from './arguments.ts';
import { Qemu } from './qemu.ts';

/** QEMU's system emulators. They are started with `-S` and a monitor on the channel: the monitor answers when the machine is built. */
export const qemuAdapter: Adapter<Qemu> = {
  name: 'qemu',
  hasBarrier: true,
  filterableRoles: ['vcpu', 'io'],
  prepare: (args, { channelFd }) => {
    const prepared = prepareArguments(args, { qmpFd: channelFd });
    return {
      args: prepared.args,
      environment: {},
      connect: (monitorFd, host) => new Qemu(monitorFd, host, { threads: host.threads }),
      letRun: async (qemu) => {
        if (!prepared.userPaused) await letRun(qemu, prepared.incoming);
      },
    };
  },
};

/** A guest that comes in runs when it has arrived; with `-incoming defer`, when `acceptMigration()` says so. */
async function letRun(qemu: Qemu, incoming: string | undefined): Promise<void> {
  if (incoming === undefined) return await qemu.cont();
  // It may take hours, or the VM may end first: then there is nothing to let run.
  if (incoming !== 'defer') void qemu.contWhenArrived().catch(() => undefined);
}
