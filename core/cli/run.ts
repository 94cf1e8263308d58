// SPDX-License-Identifier: Apache-2.0
import { closeSync, openSync } from 'node:fs';
import { resolve } from 'node:path';
import { type Command, InvalidArgumentError } from 'commander';
import { controlledSandbox } from '../control/commands.ts';
import type { ControlServer } from '../control/server.ts';
import { RatchetError } from '../errors.ts';
import { type BrokerNamespace, brokerNamespaces } from '../launch/broker-namespaces.ts';
import { EventStream, type SandboxEvent } from '../launch/events.ts';
import { shellStatus } from '../launch/exit-status.ts';
import { launchVmm } from '../launch/launch.ts';
import { printRefusals } from '../launch/print-refusals.ts';
import type { Sandbox } from '../launch/sandbox.ts';
import { type Grant, parseGrant } from '../policy/index.ts';
import { openDoors } from '../systemd/doors.ts';
import { ServiceManager } from '../systemd/service-manager.ts';
import { tellManager } from '../systemd/tell-manager.ts';
import type { Vmm } from '../vmm/vmm.ts';
import { collect } from './collect.ts';
import { detach } from './detach.ts';
import { complain } from './output.ts';
import { replaceFile } from './replace-file.ts';
import { parseVariables, runGroup } from './run-group.ts';

interface RunOptions {
  readonly group?: string;
  readonly incoming?: boolean;
  readonly set: readonly string[];
  readonly profile?: string;
  readonly feature: readonly string[];
  readonly allow: readonly string[];
  readonly mayGrant: readonly string[];
  readonly control?: string;
  readonly detach?: boolean;
  readonly report?: string;
  readonly until?: string;
  readonly keepCapabilities?: boolean;
  readonly optional: readonly string[];
  readonly soak?: true | string;
  readonly maxRefusals?: number;
  readonly trail?: string;
  readonly agents?: string;
  readonly brokerRestarts?: number;
  readonly brokerNamespaces?: readonly BrokerNamespace[];
}

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
    if (program !== undefined) return await run([program, ...args], options);
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

function parseNamespaces(text: string): readonly BrokerNamespace[] {
  return text.split(',').map((name) => {
    const kind = brokerNamespaces.find((each) => each === name);
    if (kind === undefined)
      throw misuse(`${JSON.stringify(name)} is no kind of namespace`, `write some of ${brokerNamespaces.join(', ')}`);
    return kind;
  });
}

/** @throws RatchetError ARGUMENT_INVALID when there has to be one. */
function controlPath({ control, detach }: RunOptions): string | undefined {
  if (control !== undefined) return resolve(control);
  if (detach === true) throw misuse('--detach without --control', 'give a path by which it is reached afterwards');
  return undefined;
}

function misuse(what: string, next: string): RatchetError {
  return new RatchetError('ARGUMENT_INVALID', what, { next });
}

/** A terminal sends Ctrl-C to the VMM as well, which then ends by itself. `status`: of the first signal that came. */
function whenSignalled(): { readonly signal: AbortSignal; readonly status: () => number | undefined } {
  const ending = new AbortController();
  let status: number | undefined;
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.on(signal, () => {
      status ??= shellStatus({ code: null, signal });
      ending.abort(new Error(`ended by ${signal}`));
    });
  return { signal: ending.signal, status: () => status };
}

async function run(command: readonly [string, ...string[]], options: RunOptions): Promise<number> {
  const allow: Grant[] = options.allow.map((text) => parseGrant(text, '--allow'));
  const mayGrant: Grant[] = options.mayGrant.map((text) => parseGrant(text, '--may-grant'));
  if (options.report !== undefined) checkWritable(options.report);
  const control = controlPath(options);
  if (options.detach === true) return await detach(control ?? '');
  const { signal: ending, status: signalStatus } = whenSignalled();
  const manager = ServiceManager.find(complain);
  const { control: server, agents, ownedPaths } = await openDoors({ control, agents: options.agents }, manager);
  const events = new EventStream();
  const told = printRefusals(events, complain);
  let sandbox: Sandbox<Vmm> | undefined;
  try {
    sandbox = await launchVmm({
      command,
      features: options.feature,
      allow,
      mayGrant,
      stdio: ['inherit', 'inherit', 'inherit'],
      keepCapabilities: options.keepCapabilities ?? false,
      optional: options.optional.map(parseOptional),
      ...(options.soak === undefined ? {} : { soak: options.soak === true ? true : options.soak.split(',') }),
      ...(options.maxRefusals === undefined ? {} : { maxRefusals: options.maxRefusals }),
      ...(options.trail === undefined ? {} : { trail: options.trail }),
      ...(agents === undefined ? {} : { agents }),
      ...(options.brokerRestarts === undefined ? {} : { brokerRestarts: options.brokerRestarts }),
      ...(options.brokerNamespaces === undefined ? {} : { brokerNamespaces: options.brokerNamespaces }),
      signal: ending,
      events,
      ...(options.profile === undefined ? {} : { profile: options.profile }),
      ...(options.until === undefined ? {} : { until: options.until }),
      ownedPaths,
    });
    if (manager !== undefined) void tellManager(sandbox, manager, ending);
    return await follow(sandbox, { ending, server, report: options.report });
  } catch (error) {
    // Given up before there was a VM to end with a status of its own.
    const status = signalStatus();
    if (sandbox === undefined && status !== undefined) return status;
    throw error;
  } finally {
    manager?.stopping();
    await sandbox?.close();
    events.close();
    await told;
    await server?.close();
    await manager?.close();
  }
}

interface Followed {
  readonly ending: AbortSignal;
  readonly server: ControlServer | undefined;
  readonly report: string | undefined;
}

/** Serves the sandbox until its VMM ends, and gives the VMM's status. */
async function follow(sandbox: Sandbox<Vmm>, { ending, server, report }: Followed): Promise<number> {
  const reported = report === undefined ? undefined : writeReports(sandbox, report);
  if (ending.aborted) void sandbox.close();
  ending.addEventListener('abort', () => void sandbox.close());
  server?.serve(controlledSandbox(sandbox));
  process.on('SIGUSR2', () => void enterNext(sandbox));
  const status = await sandbox.exited;
  await reported;
  return shellStatus(status);
}

/** What SIGUSR2 asks for. A failure that ended the VMM is seen by its end; after any other it goes on where it was. */
async function enterNext(sandbox: Sandbox<Vmm>): Promise<void> {
  const next = sandbox.stages[sandbox.stages.indexOf(sandbox.stage) + 1];
  if (next === undefined) return complain(`${sandbox.stage} is the last stage`);
  await sandbox.enter(next).catch((error: Error) => complain(error.message));
}

function parseOptional(name: string): 'broker-landlock' {
  if (name === 'broker-landlock') return name;
  throw new RatchetError('ARGUMENT_INVALID', `--optional ${name}: there is no such mechanism that may be missing`, {
    next: 'the only one is broker-landlock',
  });
}

function parseCount(text: string): number {
  const count = Number(text);
  if (!Number.isSafeInteger(count) || count < 1) throw new InvalidArgumentError('give a whole number above 0');
  return count;
}

function parseCountOrNone(text: string): number {
  return text === '0' ? 0 : parseCount(text);
}

/** Asked before a VM is started. @throws RatchetError ARGUMENT_INVALID. */
function checkWritable(file: string): void {
  try {
    closeSync(openSync(file, 'a'));
  } catch (cause) {
    throw new RatchetError('ARGUMENT_INVALID', `the report ${file} cannot be written`, {
      errno: (cause as NodeJS.ErrnoException).code ?? 'EIO',
      next: 'give a file in a folder that exists',
      cause,
    });
  }
}

/** One report now and one after each stage change. A disk that is full must not end the VM. */
async function writeReports(sandbox: Sandbox<Vmm>, file: string): Promise<void> {
  const changes = sandbox.events[Symbol.asyncIterator]();
  let next: IteratorResult<SandboxEvent> | undefined;
  do {
    // The broker tells of the stage too, before the filter is on: only the launcher's own event counts threads.
    if (next === undefined || (next.value.type === 'stage' && 'threads' in next.value))
      await writeReport(sandbox, file);
    next = await changes.next();
  } while (next.done !== true);
}

async function writeReport(sandbox: Sandbox<Vmm>, file: string): Promise<void> {
  try {
    replaceFile(file, `${JSON.stringify(await sandbox.attest())}\n`);
  } catch (error) {
    complain(`the report ${file} could not be written: ${(error as Error).message}`);
  }
}
