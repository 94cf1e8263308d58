// SPDX-License-Identifier: Apache-2.0
// Targets of broker rules that are neither addresses nor paths: devices by number, memory by size, network interfaces, and what has no name of its own.
import { RatchetError } from '../errors.ts';

export interface DeviceRule {
  readonly kind: 'char' | 'block';
  readonly major: number;
  /** Absent: any. */
  readonly minor: number | undefined;
  readonly readOnly: boolean;
}

export interface TapRule {
  /** Exact, or with `*` at the end for any rest, or `%d` for a free number. */
  readonly name: string;
  /** The bridge that it becomes a port of; without one it becomes none. */
  readonly bridge: string | undefined;
}

export const pairKinds = ['stream', 'datagram', 'seqpacket'] as const;
export type PairKind = (typeof pairKinds)[number];

/** What of a kind has no parts. */
export const anyTarget = 'any';

/** `char:10:232`, `block:8:*`, with `:ro` at the end for reading only. @throws RatchetError ADDRESS_INVALID. */
export function parseDeviceRule(text: string): DeviceRule {
  const [, kind, major, minor, readOnly] = /^(char|block):(\d{1,7}):(\d{1,7}|\*)(:ro)?$/.exec(text) ?? [];
  if (kind === undefined || minor === undefined)
    throw targetError(text, 'no device', 'char:MAJOR:MINOR[:ro] or block:MAJOR:MINOR[:ro], MINOR a number or *');
  return {
    kind: kind as 'char' | 'block',
    major: Number(major),
    minor: minor === '*' ? undefined : Number(minor),
    readOnly: readOnly !== undefined,
  };
}

export function deviceContains(wider: DeviceRule, narrower: DeviceRule): boolean {
  return (
    wider.kind === narrower.kind &&
    wider.major === narrower.major &&
    (wider.minor === undefined || wider.minor === narrower.minor) &&
    (!wider.readOnly || narrower.readOnly)
  );
}

/** The path that the kernel gives a device, from the text of its `uevent` file. */
export function deviceNodeOf(uevent: string): string | undefined {
  const name = /^DEVNAME=(.+)$/m.exec(uevent)?.[1];
  return name === undefined || name.split('/').includes('..') ? undefined : `/dev/${name}`;
}

const units = { '': 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30 } as const;

/** The most bytes of one memory file: `4096`, `64M`, `2G`. @throws RatchetError ADDRESS_INVALID. */
export function parseMemoryRule(text: string): number {
  const [, digits, unit] = /^([1-9]\d{0,9})([KMG]?)$/.exec(text) ?? [];
  const bytes = Number(digits) * units[(unit ?? '') as keyof typeof units];
  if (!Number.isSafeInteger(bytes))
    throw targetError(text, 'no size', 'a number of bytes, or one with K, M or G, e.g. 64M');
  return bytes;
}

/** `rt0`, `rt*`, `rt%d`, and any of them with `@br0` for one that is put into a bridge. @throws RatchetError ADDRESS_INVALID. */
export function parseTapRule(text: string): TapRule {
  const [name = '', bridge, ...more] = text.split('@');
  const fits = (each: string, form: RegExp): boolean => form.test(each) && each.length <= 15;
  // IFNAMSIZ is 16 with the terminating NUL.
  if (more.length > 0 || !fits(name, /^\w[\w.-]*(?:%d|\*)?$/) || (bridge !== undefined && !fits(bridge, /^\w[\w.-]*$/)))
    throw targetError(
      text,
      'no name of a network interface',
      'at most 15 letters, digits, ".", "_" or "-", with "*" at the end for any rest or "%d" for a free number, and @BRIDGE for a port of a bridge',
    );
  return { name, bridge };
}

export function tapContains(wider: TapRule, narrower: TapRule): boolean {
  if (wider.bridge !== narrower.bridge) return false;
  return wider.name.endsWith('*') ? narrower.name.startsWith(wider.name.slice(0, -1)) : wider.name === narrower.name;
}

/** @throws RatchetError ADDRESS_INVALID. */
export function parsePairRule(text: string): PairKind {
  const kind = pairKinds.find((each) => each === text);
  if (kind === undefined) throw targetError(text, 'no kind of socket pair', pairKinds.join(', '));
  return kind;
}

/** @throws RatchetError ADDRESS_INVALID. */
export function checkAny(text: string): void {
  if (text !== anyTarget) throw targetError(text, 'nothing that can be told apart', `"${anyTarget}"`);
}

/** The name of one of the profile's `programs`. @throws RatchetError ADDRESS_INVALID. */
export function checkProgramName(text: string): void {
  if (!/^[a-z][a-z0-9-]{0,31}$/.test(text))
    throw targetError(text, 'no name of a program', 'small letters, digits and "-", at most 32, as in `programs`');
}

function targetError(text: string, problem: string, form: string): RatchetError {
  return new RatchetError('ADDRESS_INVALID', `${JSON.stringify(text)}: ${problem}`, { next: `write ${form}` });
}
