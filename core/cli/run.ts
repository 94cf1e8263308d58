// SPDX-License-Identifier: Apache-2.0
import { writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { type ControlServer, serveControl } from '../control/server.ts';
import { RatchetError } from '../errors.ts';
import { shellStatus } from '../launch/exit-status.ts';
import { launch } from '../launch/launch.ts';
import type { Sandbox } from '../launch/sandbox.ts';
import type { Grant } from '../policy/index.ts';
import { parseGrant } from './grant.ts';
import { complain } from './output.ts';

interface RunOptions {
  readonly profile?: string;
  readonly feature: readonly string[];
  readonly allow: readonly string[];
  readonly control?: string;
  readonly report?: string;
  readonly until?: string;
  readonly keepCapabilities?: boolean;
}

const ownFailure = 125;

export function addRun(program: Command): void {
  program
    .command('run')
    .description('Run a VMM under its profile; tighten it before the first guest instruction.')
    .usage('[options] -- VMM ARGS...')
    .argument('<vmm...>', 'the VMM and its arguments, as you would type them')
    .option('--profile <name|file>', 'the profile (default: the shipped one for this VMM)')
    .option('--feature <name>', 'switch on an optional feature of the profile (repeatable)', collect, [])
    .option(
      '--allow <grant>',
      'let the broker do more: connect=ADDR, bind=ADDR, open=PATH[:ro], tap=NAME (repeatable)',
      collect,
      [],
    )
    .option('--control <path>', 'serve `ratchet ctl PATH` on this unix socket')
    .option('--report <file>', 'write what is enforced, as JSON, at each stage change')
    .option('--until <stage>', 'stop at this stage (`start`: machine built, paused, not tightened)')
    .option('--keep-capabilities', 'do not drop capabilities from the VMM')
    .passThroughOptions()
    .addHelpText(
      'after',
      `
ADDR is tcp:HOST:PORT[-PORT] (HOST an IP, a CIDR or [v6]), unix:PATH, unix-abstract:NAME or vsock:CID:PORT.
A VMM started with its own -S is tightened and left paused.

Example:
  ratchet run --control /tmp/vm.ctl --allow connect=tcp:127.0.0.1:4444 -- qemu-system-x86_64 -nodefaults -nographic -serial stdio ...`,
    )
    .action(async (command: [string, ...string[]], options: RunOptions) => {
      process.exitCode = await run(command, options).catch((error: unknown) => {
        if (!(error instanceof RatchetError)) throw error;
        complain(error.message);
        return error.kind === 'misuse' && error.code !== 'VMM_NOT_FOUND' ? 2 : ownFailure;
      });
    });
}

async function run(command: readonly [string, ...string[]], options: RunOptions): Promise<number> {
  const allow: Grant[] = options.allow.map(parseGrant);
  const control = options.control === undefined ? undefined : resolve(options.control);
  const sandbox = await launch({
    command,
    features: options.feature,
    allow,
    stdio: ['inherit', 'inherit', 'inherit'],
    keepCapabilities: options.keepCapabilities ?? false,
    ...(options.profile === undefined ? {} : { profile: options.profile }),
    ...(options.until === undefined ? {} : { until: options.until }),
    ...(control === undefined ? {} : { ownedPaths: [control] }),
  });
  // A terminal sends Ctrl-C to the VMM as well, which then ends by itself; other signals are passed on.
  const end = (): void => void sandbox.close();
  process.on('SIGINT', end).on('SIGTERM', end).on('SIGHUP', end);
  let server: ControlServer | undefined;
  try {
    server = control === undefined ? undefined : await serveControl(sandbox, control);
    if (options.report !== undefined) void writeReports(sandbox, options.report);
    const status = await sandbox.exited;
    return shellStatus(status);
  } finally {
    await server?.close();
    await sandbox.close();
  }
}

async function writeReports(sandbox: Sandbox, file: string): Promise<void> {
  const changes = sandbox.events[Symbol.asyncIterator]();
  for (;;) {
    writeFileSync(file, `${JSON.stringify(await sandbox.attest())}\n`);
    let next = await changes.next();
    while (next.done !== true && next.value.type !== 'stage') next = await changes.next();
    if (next.done === true) return;
  }
}

export function collect(value: string, earlier: readonly string[]): readonly string[] {
  return [...earlier, value];
}
