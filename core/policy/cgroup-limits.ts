// SPDX-License-Identifier: Apache-2.0
// What a control group may use: from a profile's words to numbers, and which of two limits is the tighter one.
import type { RawCgroup } from './layers-schema.ts';

/** Controllers of cgroup v2 that a limit here belongs to. */
export const controllers = ['memory', 'pids', 'cpu', 'io'] as const;
export type Controller = (typeof controllers)[number];

/** Bytes and operations a second, of one block device. */
export interface IoLimit {
  /** A path under /dev, or MAJOR:MINOR. */
  readonly device: string;
  readonly rbps?: number;
  readonly wbps?: number;
  readonly riops?: number;
  readonly wiops?: number;
}

export interface CgroupLimits {
  /** Bytes. */
  readonly memory?: number;
  /** Bytes; none when `memory` is limited and this is not given. */
  readonly swap?: number;
  /** Threads and processes together, as the controller counts. */
  readonly pids?: number;
  /** Percent of one CPU. */
  readonly cpu?: number;
  readonly io?: readonly IoLimit[];
}

const numbers = ['memory', 'swap', 'pids', 'cpu'] as const;
const rates = ['rbps', 'wbps', 'riops', 'wiops'] as const;

export function readCgroup({ memory, swap, pids, cpu, io }: RawCgroup): CgroupLimits {
  return defined({
    memory: memory === undefined ? undefined : bytes(memory),
    swap: swap === undefined ? undefined : bytes(swap),
    pids,
    cpu: cpu === undefined ? undefined : Number(cpu.replace('%', '')),
    io: io?.map((each) => ({
      device: each.device,
      ...defined({
        rbps: each.read === undefined ? undefined : bytes(each.read),
        wbps: each.write === undefined ? undefined : bytes(each.write),
        riops: each['read-ops'],
        wiops: each['write-ops'],
      }),
    })),
  });
}

/** What satisfies both. */
export function tighter(one: CgroupLimits, other: CgroupLimits): CgroupLimits {
  const io = [...(one.io ?? []), ...(other.io ?? [])];
  const devices = [...new Set(io.map(({ device }) => device))];
  return {
    ...Object.fromEntries(numbers.flatMap((key) => smallest(key, [one, other]))),
    ...(devices.length === 0
      ? {}
      : {
          io: devices.map((device) => ({
            device,
            ...Object.fromEntries(
              rates.flatMap((key) =>
                smallest(
                  key,
                  io.filter((each) => each.device === device),
                ),
              ),
            ),
          })),
        }),
  };
}

/** The first limit that the second has larger than the first, in words; undefined: there is none. */
export function looser(earlier: CgroupLimits, later: CgroupLimits): string | undefined {
  const both = tighter(earlier, later);
  const key = numbers.find((each) => later[each] !== undefined && later[each] !== both[each]);
  if (key !== undefined) return `${key} ${later[key]}, and it was ${earlier[key]}`;
  for (const each of later.io ?? []) {
    const held = both.io?.find(({ device }) => device === each.device);
    const rate = rates.find((name) => each[name] !== undefined && each[name] !== held?.[name]);
    if (rate !== undefined) return `io ${rate} of ${each.device} ${each[rate]}, and it was ${held?.[rate]}`;
  }
  return undefined;
}

function smallest<K extends string>(key: K, from: readonly Partial<Record<K, number>>[]): [K, number][] {
  const given = from.flatMap((each) => each[key] ?? []);
  return given.length === 0 ? [] : [[key, Math.min(...given)]];
}

const units: Readonly<Record<string, number>> = { K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 };

function bytes(text: string | number): number {
  if (typeof text === 'number') return text;
  return Number.parseInt(text, 10) * (units[text.at(-1) ?? ''] ?? 1);
}

/** Without the keys that have no value. */
function defined<T extends object>(value: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  const entries = Object.entries(value).filter(([, each]) => each !== undefined);
  return Object.fromEntries(entries) as { [K in keyof T]: Exclude<T[K], undefined> };
}
