// SPDX-License-Identifier: Apache-2.0
import { Command } from 'commander';
import { controlEvents, controlRequest } from '../control/client.ts';
import { printable } from '../launch/describe-refusal.ts';
import type { EnforcementReport } from '../launch/report.ts';
import type { SandboxStatus } from '../launch/sandbox.ts';
import { execProgram } from './ctl-exec.ts';
import { print, printJson, style, table } from './output.ts';

/** What a control command prints for people; programs get the JSON. */
type Show = (result: unknown) => string;

export function addCtl(program: Command): void {
  program
    .command('ctl')
    .description('Ask a running sandbox: status, stage changes, hotplug, migration, events.')
    .usage('PATH COMMAND [ARGUMENTS] [--json]')
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
  const act =
    (name: string, show: Show) =>
    async (...received: unknown[]) => {
      const command = received.at(-1) as Command;
      const { json, ...options } = command.opts<{ json?: boolean }>();
      const positional = Object.fromEntries(
        command.registeredArguments.map((argument, index) => [argument.name(), command.args[index]]),
      );
      const result = await controlRequest(path, name, { ...positional, ...options });
      if (json === true) printJson(result);
      else print(show(result));
      if (name === 'attest' && !(result as EnforcementReport).ok) process.exitCode = 1;
    };

  add(ctl, 'status', 'stage, threads and filters, broker, grants').action(act('status', showStatus));
  add(ctl, 'stage <name>', 'enter a later stage; there is no way back').action(act('stage', showReport));
  add(ctl, 'attest', 'read every thread and program again and compare').action(act('attest', showReport));
  add(ctl, 'metrics', 'counters as Prometheus reads them').action(
    act('metrics', (result) => (result as { text: string }).text.trimEnd()),
  );
  add(ctl, 'cont', 'let a paused VM run').action(act('cont', showDone('running')));
  add(ctl, 'quit', 'end the VM').action(act('quit', showDone('ended')));

  const grant = ctl.command('grant').description('grants while the VM runs').exitOverride();
  add(
    grant,
    'add <grant>',
    'grant connect=ADDR, open=PATH, tap=NAME ... (as `run --allow`), within what may be granted',
  )
    .option('--uses <count>', 'attempts that it permits, whatever becomes of them (1: once)')
    .option('--for <seconds>', 'how long it holds')
    .option('--until <event>', '`migration`: until the present migration, or the next, has ended')
    .option('--through <stage>', 'the last stage it holds in (default: the present one)')
    .action(act('grant-add', (result) => `granted, as number ${(result as { grant: number }).grant}`));
  add(grant, 'revoke <number>', 'take a grant back').action(act('grant-revoke', showDone('revoked')));
  add(grant, 'list', 'what is granted, and what may be').action(act('grant-list', showGrants));

  const nic = ctl.command('nic').description('network cards').exitOverride();
  add(nic, 'add', 'hot-plug a NIC, on a tap device of the broker or on a stream socket')
    .requiredOption('--id <id>', 'name of the device in the VMM')
    .option('--tap <name>', 'tap device that the broker creates or attaches; NAME@BRIDGE puts it into a bridge')
    .option('--connect <address>', 'stream socket backend: ADDR that the broker connects')
    .option('--mac <mac>', 'MAC address of the card')
    .action(act('nic-add', showAdded));
  add(nic, 'del', 'unplug a NIC')
    .requiredOption('--id <id>', 'its name')
    .action(act('nic-del', showDone('unplugged')));

  const disk = ctl.command('disk').description('disks').exitOverride();
  add(disk, 'add', 'hot-plug a disk image that the broker may open')
    .requiredOption('--id <id>', 'name of the device in the VMM')
    .requiredOption('--path <path>', 'the image')
    .option('--format <format>', 'raw or qcow2', 'raw')
    .option('--read-only', 'open it read-only')
    .action(act('disk-add', showAdded));
  add(disk, 'del', 'unplug a disk')
    .requiredOption('--id <id>', 'its name')
    .action(act('disk-del', showDone('unplugged')));

  const cpu = ctl.command('cpu').description('virtual CPUs').exitOverride();
  add(cpu, 'add', 'hot-plug one vCPU').action(act('cpu-add', showAdded));

  add(ctl, 'migrate <address>', 'migrate to ADDR: by fd for one channel, transparently for more')
    .option('--channels <count>', 'multifd channels', '1')
    .action(act('migrate', showJsonLines));

  add(ctl, 'accept <address>', 'let a migration in at ADDR, for a VM started with -incoming defer')
    .option('--channels <count>', 'multifd channels', '1')
    .action(act('accept', showJsonLines));

  ctl
    .command('exec <program>')
    .description("run one of the profile's programs; its streams are this command's, and so is its status")
    .option('--input <path>', 'a file in place of its stdin, granted by `open`')
    .option('--output <path>', 'a file in place of its stdout, granted by `open`; created or emptied')
    .exitOverride()
    .action(async (name: string, options: { readonly input?: string; readonly output?: string }) => {
      process.exitCode = await execProgram(path, { program: name, ...options });
    });

  add(ctl, 'events', 'one JSON object a line, until the VM ends').action(async () => {
    for await (const line of controlEvents(path)) print(line);
  });
  return ctl;
}

function showStatus(result: unknown): string {
  const status = result as SandboxStatus;
  const stages = status.stages
    .map((stage) => (stage === status.stage ? style('bold', `[${stage}]`) : stage))
    .join(' > ');
  const { broker } = status;
  return [
    `${status.vmm}, pid ${status.pid}, stage ${stages}`,
    `broker pid ${broker.pid} ${broker.alive ? 'alive' : style('red', 'dead')}, ${broker.allowed} allowed, ${broker.denied} denied`,
    '',
    table([
      ['TID', 'NAME', 'ROLE', 'FILTERS'],
      ...status.threads.map((thread) => [thread.tid, printable(thread.name), thread.role, thread.filters]),
    ]),
  ].join('\n');
}

function showGrants(result: unknown): string {
  const { grants, mayGrant } = result as Pick<SandboxStatus, 'grants' | 'mayGrant'>;
  const terms = (grant: SandboxStatus['grants'][number]): string =>
    [
      grant.usesLeft === undefined ? undefined : `${grant.usesLeft} uses left`,
      grant.leftMs === undefined ? undefined : `${Math.ceil(grant.leftMs / 1000)} s left`,
      grant.until === undefined ? undefined : `until ${printable(grant.until)}`,
      grant.throughStage === undefined ? undefined : `through ${grant.throughStage}`,
    ]
      .filter((term) => term !== undefined)
      .join(', ');
  return table([
    ['NUMBER', 'REQUEST', 'TARGET', 'TERMS', 'FROM'],
    ...grants.map((grant) => [
      grant.grant ?? '',
      grant.request,
      printable(grant.target),
      terms(grant),
      grant.grant === undefined ? `${grant.file}:${grant.line}` : 'ctl or launcher',
    ]),
    ...mayGrant.map(({ request, target }) => ['', request, printable(target), 'may be granted', '']),
  ]);
}

function showReport(result: unknown): string {
  const report = result as EnforcementReport;
  return [
    `stage ${report.stage}, pid ${report.pid}: ${report.ok ? style('green', 'as it should be') : style('red', 'NOT as it should be')}`,
    table([
      ['MECHANISM', 'STATE', 'REASON'],
      ...report.mechanisms.map(({ name, state, reason }) => [name, state, reason]),
    ]),
  ].join('\n');
}

function showDone(word: string): Show {
  return () => word;
}

function showAdded(result: unknown): string {
  return `added ${JSON.stringify(result)}`;
}

function showJsonLines(result: unknown): string {
  return Object.entries(result as object)
    .map(([key, value]) => `${key}: ${typeof value === 'object' ? JSON.stringify(value) : value}`)
    .join('\n');
}
