// SPDX-License-Identifier: Apache-2.0
import { waitFor } from '../../launch/processes.ts';
import type { Row } from '../row.ts';
import { lastCount } from '../support/migrate.ts';
import { Listener, Peer } from '../support/peer.ts';
import { guestMs, type Vm } from '../vm.ts';

/** Does it and waits for QEMU's event. */
async function causes(vm: Vm, event: string, act: () => Promise<unknown>): Promise<Readonly<Record<string, unknown>>> {
  using events = vm.sandbox.vmm.qmp.subscribe([event]);
  await act();
  return (await events.next(() => true, guestMs)).data;
}

/** The counter lies in memory that the guest clears when it starts. */
async function startedAgain(vm: Vm, before: number): Promise<void> {
  const after = await vm.guestGoesOn();
  if (after >= before) throw new Error(`the guest was at ${before} and is at ${after}`);
}

/** So high that a guest which started again is below it. */
async function countUp(vm: Vm): Promise<number> {
  while (lastCount(vm) < 50) await vm.guestGoesOn();
  return lastCount(vm);
}

export const lifecycle: readonly Row[] = [
  {
    operation: 'stop and cont',
    way: 'in-process',
    run: async (scene) => {
      const vm = await scene.counter();
      await causes(vm, 'STOP', () => vm.qmp('stop'));
      const { status } = await vm.sandbox.vmm.status();
      if (status !== 'paused') throw new Error(status);
      await causes(vm, 'RESUME', () => vm.qmp('cont'));
      await vm.guestGoesOn();
    },
  },
  {
    operation: 'system_reset',
    way: 'in-process',
    run: async (scene) => {
      const vm = await scene.counter();
      const before = await countUp(vm);
      await causes(vm, 'RESET', () => vm.qmp('system_reset'));
      await startedAgain(vm, before);
    },
  },
  {
    operation: 'reset by the guest (port 0xcf9)',
    way: 'in-process',
    run: async (scene) => {
      const vm = await scene.counter();
      const before = await countUp(vm);
      const { guest } = await causes(vm, 'RESET', async () => {
        await vm.hmp('o/b 0xcf9 2');
        await vm.hmp('o/b 0xcf9 6');
      });
      if (guest !== true) throw new Error('the guest did not ask for it');
      await startedAgain(vm, before);
    },
  },
  ...(['none', 'pause', 'reset', 'debug'] as const).map(
    (action): Row => ({
      operation: `watchdog: ${action}`,
      way: 'in-process',
      ...(action === 'reset' ? {} : { longOnly: true }),
      run: async (scene) => {
        const vm = await scene.start('counter', { args: ['-device', 'ib700'] });
        await vm.qmp('watchdog-set-action', { action });
        const before = await countUp(vm);
        // The longest value is no time at all.
        await causes(vm, 'WATCHDOG', () => vm.hmp('o/b 0x443 15'));
        const { status } = await vm.sandbox.vmm.status();
        if ((action === 'pause') !== (status === 'watchdog')) throw new Error(`the VM is ${status}`);
        if (action === 'reset') await startedAgain(vm, before);
      },
    }),
  ),
  {
    operation: 'watchdog: poweroff',
    way: 'in-process',
    longOnly: true,
    run: async (scene) => {
      const vm = await scene.start('counter', { args: ['-device', 'ib700'] });
      vm.mayEnd();
      await vm.qmp('watchdog-set-action', { action: 'poweroff' });
      await vm.hmp('o/b 0x443 15').catch(() => undefined);
      const { code } = await vm.sandbox.exited;
      if (code !== 0) throw new Error(`it ended with ${code}`);
    },
  },
  {
    operation: 'quit',
    way: 'in-process',
    longOnly: true,
    run: async (scene) => {
      const vm = await scene.start('counter');
      vm.mayEnd();
      await vm.sandbox.vmm.quit();
      const { code } = await vm.sandbox.exited;
      if (code !== 0) throw new Error(`it ended with ${code}`);
    },
  },
  {
    operation: 'system_powerdown: the guest sees the button',
    way: 'in-process',
    run: async (scene) => {
      const vm = await scene.linux();
      const name = await vm.shell('grep -l "Power Button" /sys/class/input/event*/device/name');
      await vm.shell(
        `: >/tmp/button; dd bs=24 count=1 if=/dev/input/${name.split('/').at(-3)} of=/tmp/button 2>/dev/null &`,
      );
      // Again, if the guest was not looking yet.
      await waitFor('the button in the guest', async () => {
        await causes(vm, 'POWERDOWN', () => vm.qmp('system_powerdown'));
        return (await vm.shell('wc -c </tmp/button')) === '24';
      });
    },
  },
  {
    operation: 'the guest powers off',
    way: 'in-process',
    longOnly: true,
    run: async (scene) => {
      const vm = await scene.start('linux');
      vm.mayEnd();
      void vm.shell('poweroff -f').catch(() => undefined);
      const { code } = await vm.sandbox.exited;
      if (code !== 0) throw new Error(`it ended with ${code}`);
    },
  },
  {
    operation: 'suspend to memory, and wake',
    way: 'in-process',
    longOnly: true,
    run: async (scene) => {
      const vm = await scene.start('linux');
      let suspending: Promise<string> | undefined;
      await causes(vm, 'SUSPEND', async () => {
        suspending = vm.shell('echo mem >/sys/power/state');
      });
      await causes(vm, 'WAKEUP', () => vm.qmp('system_wakeup'));
      await suspending;
    },
  },
  {
    operation: 'a client of the QMP socket, and one of the HMP socket',
    way: 'in-process',
    run: async (scene) => {
      const [qmp, hmp] = [scene.path(), scene.path()];
      const vm = await scene.start('counter', {
        args: ['-qmp', `unix:${qmp},server=on,wait=off`, '-monitor', `unix:${hmp},server=on,wait=off`],
      });
      const machine = Peer.connect({ path: qmp });
      scene.onEnd(() => machine.stream.destroy());
      await machine.until(/"QMP"/);
      machine.send('{"execute":"qmp_capabilities"}{"execute":"query-status"}');
      await machine.until(/"status": "running"/);
      const human = Peer.connect({ path: hmp });
      scene.onEnd(() => human.stream.destroy());
      await human.until(/\(qemu\)/);
      human.send('info status\n');
      await human.until(/VM status: running/);
      await vm.guestGoesOn();
    },
  },
  {
    operation: 'a connection of the broker for the QMP socket (add_client)',
    way: 'fd',
    run: async (scene) => {
      const [qmp, path] = [scene.path(), scene.path()];
      const vm = await scene.start('counter', {
        args: ['-chardev', `socket,id=slot,path=${qmp},server=on,wait=off`, '-mon', 'chardev=slot,mode=control'],
      });
      await using listener = await Listener.on(path);
      using connection = await vm.sandbox.connect(`unix:${path}`);
      await vm.qmp('getfd', { fdname: 'client' }, [connection.fd]);
      await vm.qmp('add_client', { protocol: 'slot', fdname: 'client' });
      const machine = await listener.accepted;
      await machine.until(/"QMP"/);
      machine.send('{"execute":"qmp_capabilities"}{"execute":"query-status"}');
      await machine.until(/"status": "running"/);
    },
  },
  {
    operation: 'another QMP or HMP socket',
    way: 'in-process',
    limit: {
      because: 'QEMU makes monitors at its start only',
      instead:
        'a socket chardev with a monitor as a slot at the start, to which clients connect or are given (rows above)',
    },
    run: async (scene) => {
      const vm = await scene.counter();
      await vm.hmp('mon chardev=x', /unknown command/);
    },
  },
];
