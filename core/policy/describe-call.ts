// SPDX-License-Identifier: Apache-2.0
// A call in words: its arguments by their names, with the constants they are written with, and the condition that singles this call out.
// Nothing is decided by what comes out of here.

import { constantNames, constantValue, type Parameter, parametersOf } from '../tables/index.ts';
import { type CallWords, callWords, fdArguments, textArguments, type Words } from './argument-words.ts';
import type { Arch } from './types.ts';

/** Looks behind the numbers, in the caller as it is now. Each answers undefined when there is nothing to tell. */
export interface CallReader {
  /** The text at an address. */
  readonly text: (address: bigint) => string | undefined;
  /** What a descriptor is. */
  readonly file: (fd: number) => string | undefined;
  /** The socket address at an address, in the grammar of profiles. */
  readonly socketAddress: (address: bigint, length: number) => string | undefined;
}

export type DescribedArguments = Readonly<Record<string, string | number>>;

/** The call's arguments by name. A call whose signature is not known has none. */
export function describeCall(
  arch: Arch,
  syscall: string,
  args: readonly bigint[],
  reader?: CallReader,
): DescribedArguments {
  const words = wordsOf(syscall);
  return Object.fromEntries(
    parametersOf(arch, syscall).map((parameter) => {
      const key = parameter.names[0] ?? `arg${parameter.index}`;
      const register = args[parameter.index] ?? 0n;
      const inWords = words.words[key];
      const told =
        (reader && lookedUp(key, syscall, args, parameter, reader)) ??
        (inWords && inConstants(arch, inWords, argumentValue(parameter, register), args)) ??
        plain(parameter, register);
      return [key, told];
    }),
  );
}

/** The condition under which a rule would speak of this call and of few others, as `when` writes it; undefined when the call alone says it all. */
export function selectingCondition(arch: Arch, syscall: string, args: readonly bigint[]): string | undefined {
  const { selects = [], words } = wordsOf(syscall);
  const terms = parametersOf(arch, syscall)
    .filter(({ names }) => selects.includes(names[0] ?? ''))
    .map((parameter) => {
      const key = parameter.names[0] ?? '';
      const value = argumentValue(parameter, args[parameter.index] ?? 0n);
      const inWords = words[key];
      return `${key} == ${(inWords && inConstants(arch, inWords, value, args)) ?? hex(value)}`;
    });
  return terms.length === 0 ? undefined : terms.join(' and ');
}

function wordsOf(syscall: string): CallWords {
  return (Object.hasOwn(callWords, syscall) ? callWords[syscall] : undefined) ?? { words: {} };
}

/** Which argument holds the length of the address, of calls that take one. */
const socketAddressLength: Readonly<Record<string, number>> = { bind: 2, connect: 2, sendto: 5 };

function lookedUp(
  key: string,
  syscall: string,
  args: readonly bigint[],
  parameter: Parameter,
  reader: CallReader,
): string | undefined {
  const register = args[parameter.index] ?? 0n;
  if (parameter.width === 'full64' && textArguments.has(key)) return register === 0n ? 'NULL' : reader.text(register);
  const lengthAt = key === 'addr' ? socketAddressLength[syscall] : undefined;
  if (lengthAt !== undefined) {
    return register === 0n ? 'NULL' : reader.socketAddress(register, Number(BigInt.asIntN(32, args[lengthAt] ?? 0n)));
  }
  if (!fdArguments.has(key)) return undefined;
  const fd = Number(BigInt.asIntN(32, register));
  if (fd === atCurrentDirectory) return 'AT_FDCWD';
  const file = fd < 0 ? undefined : reader.file(fd);
  // As strace -y writes it.
  return file === undefined ? undefined : `${fd}<${file}>`;
}

const atCurrentDirectory = -100;

function inConstants(arch: Arch, words: Words, value: bigint, args: readonly bigint[]): string | undefined {
  switch (words.kind) {
    case 'name':
      return nameOf(arch, words.prefix, value, words.not);
    case 'flags':
      return flagsOf(arch, words.prefix, value, words.not);
    case 'level':
      return constantValue(arch, 'SOL_SOCKET') === value ? 'SOL_SOCKET' : nameOf(arch, 'IPPROTO_', value);
    case 'request':
      return requestOf(arch, value);
    case 'type':
      return typeOf(arch, value);
    case 'option':
      return optionOf(arch, BigInt.asUintN(32, args[1] ?? 0n), value);
  }
}

function optionOf(arch: Arch, level: bigint, value: bigint): string | undefined {
  if (constantValue(arch, 'SOL_SOCKET') === level) return nameOf(arch, 'SO_', value);
  const family = new Map([
    ['IPPROTO_TCP', 'TCP_'],
    ['IPPROTO_IPV6', 'IPV6_'],
    ['IPPROTO_IP', 'IP_'],
    ['IPPROTO_UDP', 'UDP_'],
  ]).get(nameOf(arch, 'IPPROTO_', level) ?? '');
  return family === undefined ? undefined : nameOf(arch, family, value);
}

const socketTypeBits = 0xfn;

function typeOf(arch: Arch, value: bigint): string | undefined {
  const type = nameOf(arch, 'SOCK_', value & socketTypeBits);
  const rest = value & ~socketTypeBits;
  if (type === undefined) return undefined;
  return rest === 0n ? type : `${type}|${flagsOf(arch, 'SOCK_', rest) ?? hex(rest)}`;
}

/** Other names of the same bits, and masks, which say nothing. */
const poorNames = new Set([
  'AF_LOCAL',
  'AF_FILE',
  'AF_ROUTE',
  'O_ACCMODE',
  'O_NDELAY',
  'O_FSYNC',
  'O_LARGEFILE',
  'PROT_GROWSDOWN',
  'PROT_GROWSUP',
  'SIGIOT',
  'SIGPOLL',
  'SIGCLD',
]);

interface Constants {
  readonly byValue: ReadonlyMap<bigint, string>;
  /** With the most bits first. */
  readonly byBits: readonly (readonly [bigint, string])[];
}

const known = new Map<string, Constants>();

/** The constants with a prefix, looked up once: a flood of refusals is described too. Of two for one value, the shorter is the more common one. */
function constantsOf(arch: Arch, prefix: string, not?: RegExp): Constants {
  const key = `${arch} ${prefix} ${not?.source ?? ''}`;
  const found = known.get(key);
  if (found !== undefined) return found;
  const byValue = new Map<bigint, string>();
  const names = constantNames(arch).filter((name) => name.startsWith(prefix) && not?.test(name) !== true);
  for (const name of [...names].sort((a, b) => a.length - b.length)) {
    const value = constantValue(arch, name);
    if (value === undefined || poorNames.has(name) || byValue.has(value)) continue;
    byValue.set(value, name);
  }
  const byBits = [...byValue].filter(([value]) => value > 0n).sort(([a], [b]) => bitCount(b) - bitCount(a));
  const made = { byValue, byBits };
  known.set(key, made);
  return made;
}

function nameOf(arch: Arch, prefix: string, value: bigint, not?: RegExp): string | undefined {
  const { byValue } = constantsOf(arch, prefix, not);
  return byValue.get(value) ?? byValue.get(BigInt.asIntN(32, value));
}

function flagsOf(arch: Arch, prefix: string, value: bigint, not?: RegExp): string | undefined {
  const { byValue, byBits } = constantsOf(arch, prefix, not);
  if (value === 0n) return byValue.get(0n);
  let rest = value;
  const names: string[] = [];
  for (const [bits, flag] of byBits) {
    if ((rest & bits) !== bits) continue;
    names.push(flag);
    rest &= ~bits;
  }
  if (names.length === 0) return undefined;
  return [...names.sort(), ...(rest === 0n ? [] : [hex(rest)])].join('|');
}

const requestPrefixes = [
  'KVM_',
  'VHOST_',
  'VFIO_',
  'TUN',
  'BLK',
  'CDROM',
  'UFFDIO_',
  'FS_IOC',
  'FI',
  'TC',
  'TIOC',
  'SIOC',
  'USBDEVFS_',
  'SG_',
];
/** Small constants of these families are capabilities and versions, not requests. */
const smallestRequest = 0x1000n;

function requestOf(arch: Arch, value: bigint): string | undefined {
  if (value < smallestRequest) return undefined;
  for (const prefix of requestPrefixes) {
    const found = nameOf(arch, prefix, value);
    if (found !== undefined) return found;
  }
  return undefined;
}

function bitCount(value: bigint): number {
  return value.toString(2).replaceAll('0', '').length;
}

/** As the kernel reads the argument. */
function argumentValue({ width }: Parameter, register: bigint): bigint {
  return width === 'low32' ? BigInt.asUintN(32, register) : register;
}

function plain({ width, names }: Parameter, register: bigint): string | number {
  // The kernel reads a descriptor as an int, also where a call has it in a long.
  if (width === 'full64' && !fdArguments.has(names[0] ?? ''))
    return register < 0x1_0000_0000n ? Number(register) : hex(register);
  const value = Number(BigInt.asIntN(32, register));
  return names[0] === 'mode' ? `0${(value >>> 0).toString(8)}` : value;
}

function hex(value: bigint): string {
  return `0x${value.toString(16)}`;
}
