// SPDX-License-Identifier: Apache-2.0
// A launcher in the small: runs a VM that can only listen where it is told, prints what it is refused, hot-plugs a disk, and stops.
// Build the checkout (`npm run build`), then: node dist/examples/launcher.js KERNEL INITRD DISK
import { launch, RatchetError, type Sandbox } from 'ratchet-vmm';

const [kernel, initrd, disk] = process.argv.slice(2);
if (kernel === undefined || initrd === undefined || disk === undefined) {
  console.error('usage: node dist/examples/launcher.js KERNEL INITRD DISK');
  process.exit(2);
}

try {
  // launch() returns when the filter of stage `running` is in every thread and the guest has been let go.
  await using sandbox = await launch({
    command: [
      'qemu-system-x86_64',
      ...['-machine', 'pc,accel=tcg', '-m', '256', '-nodefaults', '-no-user-config', '-display', 'none'],
      ...['-kernel', kernel, '-initrd', initrd, '-append', 'console=ttyS0 quiet', '-serial', 'stdio'],
    ],
    // What the broker may do for this VM, and nothing else.
    allow: [{ request: 'open', target: disk }],
  });
  void printRefusals(sandbox);

  const report = await sandbox.attest();
  console.error(
    `pid ${sandbox.pid}, stage ${report.stage}, ${report.threads.length} threads checked: ${report.ok ? 'ok' : 'NOT ok'}`,
  );

  // The broker opens the image; QEMU gets it as a descriptor and never opens anything itself.
  await sandbox.vmm.hotplug.addDisk({ id: 'disk1', path: disk, format: 'raw' });

  // What was not granted is refused, here and in the VMM, with the profile line that would permit it.
  await sandbox
    .connect('tcp:192.0.2.1:25')
    .catch((error: RatchetError) => console.error(`as it should be: ${error.message}`));

  const { code, signal } = await sandbox.exited;
  console.error(`the VM ended: ${signal ?? code}`);
} catch (error) {
  if (!(error instanceof RatchetError)) throw error;
  console.error(`${error.code}: ${error.message}`);
  process.exitCode = 1;
}

async function printRefusals(sandbox: Sandbox): Promise<void> {
  for await (const event of sandbox.events) {
    if (event.type === 'refusal') console.error(`refused: ${JSON.stringify(event)}`);
  }
}
