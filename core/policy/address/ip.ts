// SPDX-License-Identifier: Apache-2.0
import ipaddr from 'ipaddr.js';

const decimalByte = '(?:0|[1-9][0-9]{0,2})';
const v4Form = new RegExp(`^${decimalByte}(?:\\.${decimalByte}){3}$`);
const v6Form = /^[0-9a-fA-F:]+(?:[0-9.]+)?$/;

/** 4 or 16 bytes, or undefined. Strict where ipaddr.js is not: no octal or hexadecimal parts (`0177.0.0.1`), no short forms, no zone. */
export function parseIp(text: string): readonly number[] | undefined {
  if (v4Form.test(text)) return ipaddr.IPv4.isValid(text) ? ipaddr.IPv4.parse(text).toByteArray() : undefined;
  if (!v6Form.test(text) || !text.includes(':')) return undefined;
  const tail = text.slice(text.lastIndexOf(':') + 1);
  if (tail.includes('.') && !v4Form.test(tail)) return undefined;
  return ipaddr.IPv6.isValid(text) ? ipaddr.IPv6.parse(text).toByteArray() : undefined;
}

/** Shortest text: dotted decimal, or IPv6 as RFC 5952 has it, without brackets. */
export function formatIp(ip: readonly number[]): string {
  return ip.length === 4 ? ip.join('.') : new ipaddr.IPv6([...ip]).toRFC5952String();
}

const mappedPrefix = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];
const nat64Prefix = [0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0];
const compatiblePrefix = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/** ::ffff:a.b.c.d is a.b.c.d, and is judged as that. */
export function isMapped(ip: readonly number[]): boolean {
  return ip.length === 16 && samePrefix(ip, mappedPrefix, 96);
}

export function mapToV6(ip: readonly number[]): readonly number[] {
  return ip.length === 16 ? ip : [...mappedPrefix, ...ip];
}

/**
 * Whether the set holds IPv6 addresses that reach an IPv4 host by another name: NAT64 (RFC 6052) and the old v4-compatible form. A wide IPv6 rule such
 * as `[::/0]` does not grant those; a rule has to lie inside the range itself. `::` and `::1` share the second range and are ordinary addresses.
 */
export function embedsV4(ip: readonly number[], prefix: number): boolean {
  if (ip.length !== 16 || prefix < 96) return false;
  if (samePrefix(ip, nat64Prefix, 96)) return true;
  return (
    samePrefix(ip, compatiblePrefix, 96) && (prefix < 127 || !samePrefix(ip, [...compatiblePrefix, 0, 0, 0, 0], 127))
  );
}

export function samePrefix(left: readonly number[], right: readonly number[], bits: number): boolean {
  const whole = bits >> 3;
  for (let index = 0; index < whole; index += 1) if (left[index] !== right[index]) return false;
  const rest = bits & 7;
  if (rest === 0) return true;
  const mask = (0xff << (8 - rest)) & 0xff;
  return ((left[whole] ?? 0) & mask) === ((right[whole] ?? 0) & mask);
}

/** The address with every bit after the prefix cleared. */
export function networkOf(ip: readonly number[], prefix: number): readonly number[] {
  return ip.map((byte, index) => {
    const kept = Math.min(8, Math.max(0, prefix - index * 8));
    return byte & ((0xff << (8 - kept)) & 0xff);
  });
}

export function isUnspecified(ip: readonly number[]): boolean {
  return ip.every((byte) => byte === 0);
}

/** An address of one other host: not this one, none of its link alone, no group, and no IPv4 host by another name. */
export function ordinaryHost(ip: readonly number[]): boolean {
  if (isUnspecified(ip) || isMapped(ip) || embedsV4(ip, ip.length * 8)) return false;
  const [first = 0, second = 0] = ip;
  if (ip.length === 4) return first !== 0 && first !== 127 && first < 224 && !(first === 169 && second === 254);
  const loopback = ip.every((byte, index) => byte === (index === 15 ? 1 : 0));
  return !loopback && first !== 0xff && !(first === 0xfe && (second & 0xc0) === 0x80);
}
