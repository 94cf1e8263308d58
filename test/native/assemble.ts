// SPDX-License-Identifier: Apache-2.0
// Filters by hand, so that these tests need no compiler of ours: a list of rules, first match wins, everything else is allowed.

/** x86_64 numbers (arch/x86/entry/syscalls/syscall_64.tbl). */
export const nr = {
  close: 3,
  rtSigaction: 13,
  rtSigprocmask: 14,
  dup2: 33,
  getpid: 39,
  sendmsg: 46,
  uname: 63,
  fcntl: 72,
  getppid: 110,
  execve: 59,
  setrlimit: 160,
  prctl: 157,
  openat: 257,
  dup3: 292,
  prlimit64: 302,
  seccomp: 317,
  execveat: 322,
  closeRange: 436,
} as const;

export interface FilterRule {
  readonly nr: number;
  /** Low words of arguments that must be equal, by position. */
  readonly args?: Readonly<Record<number, number>>;
  /** Positions of arguments whose low word must not be 0. */
  readonly notZero?: readonly number[];
  readonly verdict: number;
}

export const verdict = {
  allow: 0x7fff0000,
  notify: 0x7fc00000,
  errno: (errno: number): number => 0x00050000 | errno,
} as const;

const loadWord = 0x20;
const jumpEqual = 0x15;
const returnConstant = 0x06;

export function assemble(rules: readonly FilterRule[]): Buffer {
  const instructions = [...rules.flatMap(ruleCode), [returnConstant, 0, 0, verdict.allow]];
  const program = Buffer.alloc(instructions.length * 8);
  instructions.forEach(([code, jumpTrue, jumpFalse, constant], index) => {
    program.writeUInt16LE(code as number, index * 8);
    program.writeUInt8(jumpTrue as number, index * 8 + 2);
    program.writeUInt8(jumpFalse as number, index * 8 + 3);
    program.writeUInt32LE((constant as number) >>> 0, index * 8 + 4);
  });
  return program;
}

function ruleCode(rule: FilterRule): number[][] {
  const tests = [
    { offset: 0, value: rule.nr, equal: true },
    ...Object.entries(rule.args ?? {}).map(([index, value]) => ({
      offset: 16 + 8 * Number(index),
      value,
      equal: true,
    })),
    ...(rule.notZero ?? []).map((index) => ({ offset: 16 + 8 * index, value: 0, equal: false })),
  ];
  return [
    ...tests.flatMap(({ offset, value, equal }, index) => {
      const toNextRule = (tests.length - 1 - index) * 2 + 1;
      return [[loadWord, 0, 0, offset], equal ? [jumpEqual, 0, toNextRule, value] : [jumpEqual, toNextRule, 0, value]];
    }),
    [returnConstant, 0, 0, rule.verdict],
  ];
}

const execFd = 16383;
const atEmptyPath = 0x1000;
const eperm = 1;

/** What every start filter must hold for the one execve: no other exec, and no way to raise a limit. */
export const oneExecOnly: readonly FilterRule[] = [
  { nr: nr.execveat, args: { 0: execFd, 4: atEmptyPath }, verdict: verdict.allow },
  { nr: nr.execveat, verdict: verdict.errno(eperm) },
  { nr: nr.execve, verdict: verdict.errno(eperm) },
  { nr: nr.setrlimit, verdict: verdict.errno(eperm) },
  { nr: nr.prlimit64, notZero: [2], verdict: verdict.errno(eperm) },
];
