// SPDX-License-Identifier: Apache-2.0
import type { Command } from 'commander';
import { runDemo } from '../demo/demo.ts';

export function addDemo(program: Command): void {
  program
    .command('demo')
    .description('The whole story on a real guest, with a table at the end.')
    .option('--json', 'print one JSON object last: {ok, steps: [{name, ok, ms, detail}]}')
    .addHelpText(
      'after',
      `
Needs what \`npm run demo\` sets up: QEMU, a Linux kernel and busybox for the guest. Ends with status 1 if any step is not as it should be.`,
    )
    .action(async ({ json }: { json?: boolean }) => {
      process.exitCode = await runDemo({ json: json ?? false });
    });
}
