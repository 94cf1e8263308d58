// SPDX-License-Identifier: Apache-2.0
import type { Command } from 'commander';
import { RatchetError } from '../errors.ts';
import { brokerNamespaces } from '../launch/broker-namespaces.ts';
import { ServiceManager } from '../systemd/service-manager.ts';
import { collect } from './collect.ts';
import { detach } from './detach.ts';
import { checkWritable } from './keep-report.ts';
import { complain } from './output.ts';
import { parseVariables, runGroup } from './run-group.ts';
import { controlPath, misuse, parseCount, parseCountOrNone, parseNamespaces, type RunOptions } from './run-options.ts';
import { runVmm } from './run-vmm.ts';
import { whenSignalled } from './when-signalled.ts';

const ownFailure = 125;

export function addRun(program: Command): void {
  program
    .command('run')
    .description('Run a VMM under its profile; tighten it before the first guest instruction.')
    .usage('[options] -- VMM ARGS... | --group FILE')
    .argument('[vmm...]', 'the VMM and its arguments, as you would type them')
    .option('--group <file>', 'run the members of a group file together instead (docs/groups.md)')
    .option('--set <name=value>', "give a variable of the group's a value (repeatable)", collect, [])
    .option('--incoming', "the group's guest comes from another one: wait for `ctl PATH accept`")
    .option('--profile <name|file>', 'the profile (default: the shipped one for this VMM)')
    .option('--feature <name>', 'switch on an optional feature of the profile (repeatable)', collect, [])
    .option(
      '--allow <grant>',
      'let the broker do more: connect=ADDR, bind=ADDR, open=PATH[:ro], tap=NAME[@BRIDGE], device=char:MAJOR:MINOR, memory=SIZE, terminal=any, pair=KIND, exec=NAME (repeatable)',
      collect,
      [],
    )
    .option(
      '--may-grant <grant>',
      'let it be granted while the VM runs: by `ctl PATH grant`, and by hotplug and migration for their time (repeatable)',
      collect,
      [],
    )
    .option('--control <path>', 'serve `ratchet ctl PATH` on this unix socket')
    .option('--detach', 'return when the VM is in its stage; its launcher goes on in the background (needs --control)')
    .option('--report <file>', 'write what is enforced, as JSON, at each stage change')
    .option('--until <stage>', 'stop at this stage (`start`: machine built, paused, not tightened)')
    .option(
      '--optional <mechanism>',
      'go on where the kernel lacks it; `broker-landlock` is the only one (repeatable)',
      collect,
      [],
    )
    .option('--soak [stages]', 'let through and report what these stages refuse (comma-separated; default: all)')
    .option('--max-refusals <count>', 'kill the VMM at this many refusals of its calls', parseCount)
    .option(
      '--agents <path>',
      'let other processes of this user ask the broker, on this unix socket, for what its rules judge',
    )
    .option('--trail <file>', "append the broker's decisions to this file, one JSON line each; it may be rotated")
    .option(
      '--broker-restarts <count>',
      'brokers that may follow one that died, within a minute (default: 3)',
      parseCountOrNone,
    )
    .option(
      '--broker-namespaces <kinds>',
      `namespaces of the broker's own, comma-separated: ${brokerNamespaces.join(', ')}`,
      parseNamespaces,
    )
    .option('--keep-capabilities', 'do not drop capabilities from the VMM')
    .passThroughOptions()
    .addHelpText(
      'after',
      `
ADDR is tcp:HOST:PORT[-PORT] (HOST an IP, a CIDR or [v6]), unix:PATH, unix-abstract:NAME or vsock:CID:PORT.
A VMM started with its own -S is tightened and left paused. SIGUSR2 to this process enters the next stage.

Example:
  ratchet run --control /tmp/vm.ctl --allow connect=tcp:127.0.0.1:4444 -- qemu-system-x86_64 -nodefaults -nographic -serial stdio ...`,
    )
    .action(async (command: string[], options: RunOptions) => {
      process.exitCode = await runEither(command, options).catch((error: unknown) => {
        if (!(error instanceof RatchetError)) throw error;
        complain(error.message);
        return error.kind === 'misuse' && error.code !== 'VMM_NOT_FOUND' ? 2 : ownFailure;
      });
    });
}

async function runEither([program, ...args]: readonly string[], options: RunOptions): Promise<number> {
  if (options.group === undefined) {
    if (options.incoming === true) throw misuse('--incoming without --group', 'give the VMM its own -incoming');
    if (program !== undefined) return await runVmm([program, ...args], options);
    throw misuse('there is nothing to run', 'give a VMM after --, or --group FILE');
  }
  if (program !== undefined) throw misuse(`--group runs no ${program}`, 'name it in the group file');
  for (const name of notForGroups)
    if (options[name] !== undefined && String(options[name]) !== '')
      throw misuse(`--group does not go together with --${name}`, 'say it of a member, in the group file');
  if (options.report !== undefined) checkWritable(options.report);
  const control = controlPath(options);
  if (options.detach === true) return await detach(control ?? '');
  const { signal, status } = whenSignalled();
  try {
    return await runGroup({
      file: options.group,
      variables: parseVariables(options.set),
      incoming: options.incoming ?? false,
      control,
      report: options.report,
      signal,
      manager: ServiceManager.find(complain),
    });
  } catch (error) {
    if (status() === undefined) throw error;
    return status() ?? ownFailure;
  }
}

const notForGroups = [
  'profile',
  'feature',
  'allow',
  'mayGrant',
  'until',
  'soak',
  'maxRefusals',
  'trail',
  'agents',
  'brokerRestarts',
  'brokerNamespaces',
  'optional',
  'keepCapabilities',
] as const;
