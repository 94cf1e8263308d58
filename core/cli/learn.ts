// SPDX-License-Identifier: Apache-2.0
import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';
import type { Command } from 'commander';
import { countCalls } from '../compiler/count-calls.ts';
import { RatchetError } from '../errors.ts';
import { parseAuditLine } from '../learn/audit.ts';
import { type Proposal, propose } from '../learn/proposal.ts';
import { proposalText } from '../learn/proposal-text.ts';
import { Recording } from '../learn/recording.ts';
import { parseStraceLine } from '../learn/strace.ts';
import type { Arch, ResolvedProfile } from '../policy/types.ts';
import { writeCounts } from '../profile-counts.ts';
import { loadProfile } from '../profile-files.ts';
import { collect } from './collect.ts';
import { complain, print, printJson, table } from './output.ts';
import { chosenArch } from './stage-filter.ts';
import { traced } from './traced.ts';

interface CommandOptions {
  readonly from?: string;
  readonly profile: string;
  readonly stage?: string;
  readonly arch?: string;
  readonly feature: readonly string[];
  readonly counts?: string;
  readonly json?: boolean;
}

const parsers = { strace: parseStraceLine, audit: parseAuditLine } as const;

export function addLearn(program: Command): void {
  program
    .command('learn')
    .description('Propose rules for calls that were seen and that a stage does not permit; nothing is enforced.')
    .argument('[args...]', 'a recording with --from; otherwise, after --, a VMM to run under strace')
    .option('--from <format>', 'strace (strace -f, best with -e raw=all) or audit (audit.log, journalctl, dmesg)')
    .option('--profile <name|file>', 'the profile that the calls are held against', 'qemu')
    .option('--stage <stage>', 'the stage that the rules are for (default: the first)')
    .option('--arch <arch>', 'x86_64, aarch64 or riscv64 (default: this machine)')
    .option('--feature <name>', 'with this feature of the profile (repeatable)', collect, [])
    .option('--counts <file>', 'write how often each call was seen, for the compiler to make frequent ones fast')
    .option('--json', 'print {profile, stage, source, calls, threads, syscalls, rules, refused, unseen}')
    .addHelpText(
      'after',
      `
With --, the VMM runs as you typed it, outside of any sandbox, under strace, until it ends; its output goes to stderr.
A recording shows what happened, once. Rules are printed with "why: TODO", which \`ratchet check\` refuses until a
person has written who makes the call. Calls that a rule refuses on purpose are listed and not proposed.

Exit status 1 when there is something to review.

Examples:
  ratchet learn --stage running -- qemu-system-x86_64 -nodefaults -display none -kernel vmlinuz
  strace -f -e raw=all -o trace -p PID; ratchet learn --from strace --stage running trace
  journalctl -k | ratchet learn --from audit /dev/stdin`,
    )
    .action(async (args: string[], options: CommandOptions) => {
      const arch = chosenArch(options.arch);
      const profile = loadProfile(options.profile, { arch, features: options.feature });
      const stage =
        options.stage === undefined ? profile.stages[0] : profile.stages.find(({ name }) => name === options.stage);
      if (stage === undefined)
        throw new RatchetError('STAGE_UNKNOWN', `profile ${profile.name} has no stage ${options.stage}`, {
          next: `name one of ${profile.stages.map(({ name }) => name).join(', ')}`,
        });
      const recording = new Recording(profile);
      const source = await record(recording, arch, args, options);
      if (recording.calls === 0)
        throw new RatchetError('ARGUMENT_INVALID', `no system call of ${arch} was found in ${source}`, {
          next: 'check --from and --arch',
        });
      const proposal = propose(recording, profile, stage);
      if (options.counts !== undefined)
        writeCounts(options.counts, countCalls(recording.replay(), { profile, recorded: source }));
      if (options.json === true) printJson({ profile: profile.name, source, ...proposal });
      else show(proposal, profile, source);
      if (proposal.rules.length > 0) process.exitCode = 1;
    });
}

/** Fills the recording and says what it is one of. */
async function record(
  recording: Recording,
  arch: Arch,
  args: readonly string[],
  { from }: CommandOptions,
): Promise<string> {
  if (from === undefined) {
    const [command] = args;
    if (command === undefined)
      throw new RatchetError('ARGUMENT_INVALID', 'learn needs a recording or a VMM', {
        next: 'give --from strace FILE or --from audit FILE, or the VMM after --',
      });
    const status = await traced(args, (file) => readLines(file, (line) => parseStraceLine(line, arch), recording));
    return `one run of ${command} under strace, outside of any sandbox, which ended with ${status}`;
  }
  if (from !== 'strace' && from !== 'audit')
    throw new RatchetError('ARGUMENT_INVALID', `there is no kind of recording ${from}`, {
      next: 'choose strace or audit',
    });
  const [file, ...more] = args;
  if (file === undefined || more.length > 0)
    throw new RatchetError('ARGUMENT_INVALID', `--from ${from} needs one file`, { next: 'join several with cat' });
  await readLines(file, (line) => parsers[from](line, arch), recording);
  return file;
}

async function readLines(
  file: string,
  parse: (line: string) => ReturnType<typeof parseStraceLine>,
  recording: Recording,
): Promise<void> {
  try {
    for await (const line of createInterface({ input: createReadStream(file) })) {
      const call = parse(line);
      if (call !== undefined) recording.add(call);
    }
  } catch (cause) {
    const { code = 'EIO' } = cause as NodeJS.ErrnoException;
    throw new RatchetError('PROFILE_NOT_FOUND', `the recording ${file} could not be read`, { errno: code, cause });
  }
}

/** The proposal on standard output, ready to paste; what each stage says of each call on standard error. */
function show(proposal: Proposal, profile: ResolvedProfile, source: string): void {
  const stages = profile.stages.map(({ name }) => name);
  const rows = proposal.syscalls
    .filter(({ verdicts }) => stages.some((name) => verdicts[name] !== 'allowed'))
    .map(({ syscall, count, verdicts }) => [syscall, count, ...stages.map((name) => verdicts[name] ?? '')]);
  if (rows.length > 0) process.stderr.write(`${table([['SYSCALL', 'SEEN', ...stages], ...rows])}\n`);
  complain(`${proposal.rules.length} rules proposed for stage ${proposal.stage}; nothing was changed`);
  print(proposalText(proposal, source, profile.file).trimEnd());
}
