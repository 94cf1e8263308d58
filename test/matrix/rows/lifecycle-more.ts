// SPDX-License-Identifier: Apache-2.0
import type { Row } from '../row.ts';
import { guestMs, type Vm } from '../vm.ts';

async function causes(vm: Vm, event: string, act: () => Promise<unknown>): Promise<Readonly<Record<string, unknown>>> {
  using events = vm.sandbox.vmm.qmp.subscribe([event]);
  await act();
  return (await events.next(() => true, guestMs)).data;
}

export const lifecycleMore: readonly Row[] = [
  {
    operation: 'panic that the guest tells of (pvpanic)',
    way: 'in-process',
    longOnly: true,
    run: async (scene) => {
      const vm = await scene.start('counter', { args: ['-device', 'pvpanic', '-action', 'panic=pause'] });
      const { action } = await causes(vm, 'GUEST_PANICKED', () => vm.hmp('o/b 0x505 1'));
      if (action !== 'pause') throw new Error(`QEMU did ${String(action)}`);
      await vm.qmp('system_reset');
      await vm.qmp('cont');
    },
  },
  {
    operation: 'reboot by a Linux guest, which comes up again',
    way: 'in-process',
    longOnly: true,
    run: async (scene) => {
      const vm = await scene.start('linux', { mayReboot: true });
      await vm.shell('touch /tmp/before');
      await causes(vm, 'RESET', async () => {
        void vm.shell('reboot -f').catch(() => undefined);
      });
      await vm.console.waitForLine(/--matrix-- 0$/, guestMs, vm.console.text.length);
      await vm.shell('[ ! -e /tmp/before ]');
    },
  },
  {
    operation: 'SIGTERM: QEMU ends as on quit',
    way: 'in-process',
    run: async (scene) => {
      const vm = await scene.start('counter');
      vm.mayEnd();
      using events = vm.sandbox.vmm.qmp.subscribe(['SHUTDOWN']);
      process.kill(vm.sandbox.pid, 'SIGTERM');
      const { data } = await events.next(() => true, guestMs);
      if (data['reason'] !== 'host-signal') throw new Error(`QEMU ended for ${String(data['reason'])}`);
      const { code } = await vm.sandbox.exited;
      if (code !== 0) throw new Error(`it ended with ${code}`);
    },
  },
];
