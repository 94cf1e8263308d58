// SPDX-License-Identifier: Apache-2.0
import { Command } from 'commander';
import { controlEvents, controlRequest } from '../control/client.ts';
import type { ProgramRequest } from '../control/run-program.ts';
import { RatchetError } from '../errors.ts';
import { collect } from './collect.ts';
import { execProgram } from './ctl-exec.ts';
import { type Show, showAdded, showDone, showGrants, showJsonLines, showReport, showStatus } from './ctl-show.ts';
import { print, printJson } from './output.ts';

export function addCtl(program: Command): void {
  program
    .command('ctl')
    .description('Ask a running sandbox or group: status, stage changes, hotplug, migration, events.')
    .usage('PATH COMMAND [ARGUMENTS] [--member NAME] [--json]')
    .argument('<path>', 'the socket given to `ratchet run --control`')
    .argument('<command...>')
    .passThroughOptions()
    .allowUnknownOption()
    .addHelpText(
      'after',
      () =>
        `\nCommands of \`ratchet ctl PATH\`:\n${commandList()}\n\nExample:\n  ratchet ctl /tmp/vm.ctl nic add --id net1 --tap tap0`,
    )
    .action(async (path: string, words: string[]) => {
      await ctlProgram(path).parseAsync(words, { from: 'user' });
    });
}

function commandList(): string {
  return ctlProgram('PATH')
    .commands.flatMap((command) =>
      command.commands.length > 0
        ? command.commands.map((sub) => [`${command.name()} ${sub.name()}`, sub.description()])
        : [[command.name(), command.description()]],
    )
    .map(([name, text]) => `  ${(name ?? '').padEnd(12)} ${text}`)
    .join('\n');
}

function ctlProgram(path: string): Command {
  const ctl = new Command(`ratchet ctl ${path}`).exitOverride().helpCommand(false);
  const add = (parent: Command, usage: string, description: string): Command =>
    parent
      .command(usage)
      .description(description)
      .option('--json', 'print the answer as one JSON object')
      .exitOverride();
  const addForMember = (parent: Command, usage: string, description: string): Command =>
    add(parent, usage, description).option('--member <name>', 'of a group: this member (default: all, or its VMM)');
  const act =
    (name: string, show: Show, prepare: (options: object) => object = (options) => options) =>
    async (...received: unknown[]) => {
      const command = received.at(-1) as Command;
      const { json, ...given } = command.opts<{ json?: boolean }>();
      const options = prepare(given);
      const positional = Object.fromEntries(
        command.registeredArguments.map((argument, index) => [argument.name(), command.args[index]]),
      );
      const result = await controlRequest(path, name, { ...positional, ...options });
      if (json === true) printJson(result);
      else print(show(result));
      if (name === 'attest' && !(result as { ok: boolean }).ok) process.exitCode = 1;
    };

  addForMember(ctl, 'status', 'stage, threads and filters, broker, grants').action(act('status', showStatus));
  addForMember(ctl, 'stage <name>', 'enter a later stage; there is no way back').action(act('stage', showReport));
  addForMember(ctl, 'attest', 'read every thread and program again and compare').action(act('attest', showReport));
  add(ctl, 'metrics', 'counters as Prometheus reads them').action(
    act('metrics', (result) => (result as { text: string }).text.trimEnd()),
  );
  addForMember(ctl, 'cont', 'let a paused VM run').action(act('cont', showDone('running')));
  add(ctl, 'quit', 'end the VM').action(act('quit', showDone('ended')));

  const grant = ctl.command('grant').description('grants while the VM runs').exitOverride();
  addForMember(
    grant,
    'add <grant>',
    'grant connect=ADDR, open=PATH, tap=NAME ... (as `run --allow`), within what may be granted',
  )
    .option('--uses <count>', 'attempts that it permits, whatever becomes of them (1: once)')
    .option('--for <seconds>', 'how long it holds')
    .option('--until <event>', '`migration`: until the present migration, or the next, has ended')
    .option('--through <stage>', 'the last stage it holds in (default: the present one)')
    .action(act('grant-add', (result) => `granted, as number ${(result as { grant: number }).grant}`));
  addForMember(grant, 'revoke <number>', 'take a grant back').action(act('grant-revoke', showDone('revoked')));
  addForMember(grant, 'list', 'what is granted, and what may be').action(act('grant-list', showGrants));

  const nic = ctl.command('nic').description('network cards').exitOverride();
  addForMember(nic, 'add', 'hot-plug a NIC, on a tap device of the broker or on a stream socket')
    .requiredOption('--id <id>', 'name of the device in the VMM')
    .option('--tap <name>', 'tap device that the broker creates or attaches; NAME@BRIDGE puts it into a bridge')
    .option('--connect <address>', 'stream socket backend: ADDR that the broker connects')
    .option('--mac <mac>', 'MAC address of the card')
    .action(act('nic-add', showAdded));
  addForMember(nic, 'del', 'unplug a NIC')
    .requiredOption('--id <id>', 'its name')
    .action(act('nic-del', showDone('unplugged')));

  const disk = ctl.command('disk').description('disks').exitOverride();
  addForMember(disk, 'add', 'hot-plug a disk image that the broker may open')
    .requiredOption('--id <id>', 'name of the device in the VMM')
    .requiredOption('--path <path>', 'the image')
    .option('--format <format>', 'raw or qcow2', 'raw')
    .option('--read-only', 'open it read-only')
    .action(act('disk-add', showAdded));
  addForMember(disk, 'del', 'unplug a disk')
    .requiredOption('--id <id>', 'its name')
    .action(act('disk-del', showDone('unplugged')));

  const cpu = ctl.command('cpu').description('virtual CPUs').exitOverride();
  addForMember(cpu, 'add', 'hot-plug one vCPU').action(act('cpu-add', showAdded));

  addForMember(ctl, 'migrate <address>', 'migrate to ADDR: by fd for one channel, transparently for more')
    .option('--channels <count>', 'multifd channels', '1')
    .option('--disk <node>', 'copy this block node too, for a side that does not reach it (repeatable)', collect, [])
    .option('--disks-at <address>', 'ADDR at which the other side takes disks')
    .option('--timeout-ms <count>', 'how long it may take')
    .option('--peer-timeout-ms <count>', 'how long the other side may be silent (default: 30000)')
    .option('--max-bytes-per-second <count>', 'no more than this goes out')
    .option('--downtime-limit-ms <count>', 'how long the guest may stand still')
    .action(act('migrate', showJsonLines, withDisks));

  addForMember(
    ctl,
    'accept <address>',
    'let a migration in at ADDR, for a VM with -incoming defer or a group with --incoming',
  )
    .option('--channels <count>', 'multifd channels', '1')
    .option('--disk <node>', 'let this block node be written until the guest runs (repeatable)', collect, [])
    .option('--disks-at <address>', 'ADDR at which disks are taken')
    .option('--timeout-ms <count>', 'from now until the guest has arrived')
    .option('--peer-timeout-ms <count>', 'how long the other side may be silent (default: 30000)')
    .action(act('accept', showJsonLines, withDisks));

  ctl
    .command('exec <program>')
    .description("run one of the profile's programs; its streams are this command's, and so is its status")
    .option('--input <path>', 'a file in place of its stdin, granted by `open`')
    .option('--output <path>', 'a file in place of its stdout, granted by `open`; created or emptied')
    .option('--member <name>', "of a group: this member's (default: its VMM's)")
    .exitOverride()
    .action(async (name: string, options: Omit<ProgramRequest, 'program'>) => {
      process.exitCode = await execProgram(path, { program: name, ...options });
    });

  add(ctl, 'events', 'one JSON object a line, until the VM ends').action(async () => {
    for await (const line of controlEvents(path)) print(line);
  });
  return ctl;
}

/** @throws RatchetError ARGUMENT_INVALID when only one of the two is given. */
function withDisks(options: object): object {
  const { disk, disksAt, ...rest } = options as { readonly disk: readonly string[]; readonly disksAt?: string };
  if (disk.length > 0 !== (disksAt !== undefined))
    throw new RatchetError('ARGUMENT_INVALID', '--disk and --disks-at go together', {
      next: 'name the nodes that are copied, and the address at which the receiving side takes them',
    });
  return disksAt === undefined ? rest : { ...rest, disks: { nodes: disk, at: disksAt } };
}
