// SPDX-License-Identifier: Apache-2.0
// A stage as a drop-in for a systemd service: an allow-list of whole calls. systemd tests no arguments, so calls that are permitted by
// their arguments are not in it.

import type { FilterPolicy, SyscallRules } from '../../policy/types.ts';
import { decodeAction, permits, refuses } from '../../simulator/action.ts';
import { errnoName, syscallNames, syscallNumber } from '../../tables/index.ts';
import { stageAnswers } from './stage-answers.ts';

/**
 * The group @default of systemd 252, which it adds to every allow-list; what the stage refuses is taken out again by name. execve stays: systemd starts
 * the service with it, under the filter.
 */
const impliedBySystemd =
  'arch_prctl brk clock_getres clock_gettime clock_nanosleep execve exit exit_group futex futex_waitv get_robust_list get_thread_area getegid geteuid getgid getgroups getpgid getpgrp getpid getppid getrandom getresgid getresuid getrlimit getsid gettid gettimeofday getuid membarrier mmap mprotect munmap nanosleep pause prlimit64 restart_syscall riscv_flush_icache riscv_hwprobe rseq rt_sigreturn sched_getaffinity sched_yield set_robust_list set_thread_area set_tid_address sigreturn time'.split(
    ' ',
  );

export interface SystemdExport {
  readonly text: string;
  /** What the drop-in lets through, as a policy. */
  readonly meaning: FilterPolicy;
  readonly notes: readonly string[];
}

export function exportSystemd(filter: FilterPolicy, name: string): SystemdExport {
  const { otherwise, calls } = stageAnswers(filter, { compares32: false });
  const open = permits(otherwise);
  const whole = new Set(
    calls.flatMap((answers) =>
      answers.length === 1 && answers[0]?.alternatives?.[0]?.length === 0 && permits(answers[0].returned)
        ? [answers[0].name]
        : [],
    ),
  );
  // Under a default that permits, whatever is refused for any arguments is refused for all.
  const refused = calls.flatMap((answers) =>
    answers.some(({ returned }) => refuses(returned)) ? [answers[0]?.name ?? ''] : [],
  );
  const known = new Set(syscallNames(filter.arch));
  const takenOut = impliedBySystemd.filter((call) => known.has(call) && !whole.has(call) && call !== 'execve');
  const errno = decodeAction(otherwise);
  const permitted = open ? [...known].filter((call) => !refused.includes(call)) : [...whole, 'execve'];
  const lines = [
    `# ${name}: what systemd can say of it.`,
    '[Service]',
    'NoNewPrivileges=yes',
    'SystemCallArchitectures=native',
    ...(errno.kind === 'errno' ? [`SystemCallErrorNumber=${errnoName(errno.errno) ?? errno.errno}`] : []),
    ...(open
      ? wrapped('SystemCallFilter=~', refused)
      : [...wrapped('SystemCallFilter=', [...whole]), ...wrapped('SystemCallFilter=~', takenOut)]),
  ];
  const notes = [
    'systemd tests no arguments: calls that are permitted by their arguments are refused, and a VMM may not run so',
    ...(open ? [] : ['execve is permitted: systemd starts the service with it']),
  ];
  return { text: `${lines.join('\n')}\n`, meaning: meaningOf(filter, permitted), notes };
}

/** systemd adds up lines of the same key. */
function wrapped(key: string, names: readonly string[]): readonly string[] {
  const lines: string[] = [];
  for (const name of [...names].sort()) {
    const last = lines.at(-1);
    if (last === undefined || last.length + name.length > 118) lines.push(`${key}${name}`);
    else lines[lines.length - 1] = `${last} ${name}`;
  }
  return lines;
}

function meaningOf(filter: FilterPolicy, permitted: readonly string[]): FilterPolicy {
  const otherwise =
    filter.otherwise.kind === 'allow' ? ({ kind: 'errno', errno: 1, quiet: true } as const) : filter.otherwise;
  const syscalls = permitted
    .map(
      (name): SyscallRules => ({
        nr: syscallNumber(filter.arch, name) ?? -1,
        name,
        rules: [],
        otherwise: { kind: 'allow' },
      }),
    )
    .filter(({ nr }) => nr >= 0)
    .sort((a, b) => a.nr - b.nr);
  return { ...filter, syscalls, otherwise, unknown: otherwise, foreign: { kind: 'kill-process' } };
}
