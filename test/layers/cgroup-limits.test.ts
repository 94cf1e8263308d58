// SPDX-License-Identifier: Apache-2.0
// What is written for limits, in a kernel that has all controllers: Debian's, in a guest.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { cgroupFiles } from '../../core/layers/cgroup-files.ts';
import { type CgroupLimits, looser, readCgroup, tighter } from '../../core/policy/cgroup-limits.ts';
import { GuestGroup, guestMs, guestOf, guestWords } from '../group/guest.ts';

const mebibyte = 2 ** 20;
let folder: string;
let guest: GuestGroup;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'ratchet-limits-'));
  const image = join(folder, 'image');
  writeFileSync(image, Buffer.alloc(8 * mebibyte));
  const disk = ['-drive', `file=${image},format=raw,if=none,id=d`, '-device', 'virtio-blk-pci,drive=d'];
  const vmm = {
    command: ['qemu-system-x86_64', ...guestWords(folder), ...disk],
    allow: [`open=${image}`, `open=${guestOf(folder).kernel}:ro`, `open=${guestOf(folder).initrd}:ro`],
  };
  guest = await GuestGroup.start({ group: { version: 1, name: 'limits', members: { vmm } } });
  await guest.shell('mount -t cgroup2 none /tmp && cd /tmp && echo "+memory +pids +cpu +io" > cgroup.subtree_control');
}, guestMs);

afterAll(async () => {
  await guest[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true });
});

/** A group with these limits, of which `words` are run as a member. */
async function run(limits: CgroupLimits, words: string, after: string): Promise<string> {
  const files = cgroupFiles(limits).map(({ name, text }) => `echo "${text}" > $g/${name} || exit 9`);
  const g = `g=/tmp/${Math.random().toString(36).slice(2)}; mkdir $g; ${files.join('; ')}`;
  return await guest.shell(`${g}; sh -c 'echo 0 > '$g'/cgroup.procs; ${words}'; echo $?; ${after}; true`);
}

describe('a limit', () => {
  it(
    'on memory ends who uses more',
    async () => {
      const told = await run(
        { memory: 32 * mebibyte },
        'dd if=/dev/zero of=/dev/null bs=64M count=1',
        'grep oom_kill $g/memory.events; cat $g/memory.max',
      );
      expect(told).toMatch(/oom_kill [1-9]/);
      expect(told).toMatch(new RegExp(`^${32 * mebibyte}$`, 'm'));
      const within = await run(
        { memory: 96 * mebibyte },
        'dd if=/dev/zero of=/dev/null bs=64M count=1',
        'grep oom_kill $g/memory.events',
      );
      expect(within).toMatch(/^oom_kill 0\r?$/m);
    },
    guestMs,
  );

  it(
    'on CPU makes it wait',
    async () => {
      // Until it was made to wait for the sixth time, however much of the processor this guest has itself: without a limit that would never be.
      const waits = 'sed -n "s/nr_throttled //p"';
      const told = await run(
        { cpu: 20 },
        `until [ $(${waits} '$g'/cpu.stat) -gt 5 ]; do :; done`,
        'cat $g/cpu.stat $g/cpu.max',
      );
      expect(Number(/nr_throttled (\d+)/.exec(told)?.[1])).toBeGreaterThan(5);
      expect(told).toMatch(/^20000 100000\r?$/m);
    },
    guestMs,
  );

  it(
    'on a disk makes it slow',
    async () => {
      const device = (await guest.shell('cat /sys/block/vda/dev')).trim();
      const words = 'dd if=/dev/zero of=/dev/vda bs=64k count=16 oflag=direct';
      const seconds = async (limits: CgroupLimits): Promise<number> => {
        const told = await run(
          limits,
          `s=$(cut -d\\  -f1 /proc/uptime); ${words}; echo took $s $(cut -d\\  -f1 /proc/uptime)`,
          'cat $g/io.max',
        );
        const [, from, to] = /took (\S+) (\S+)/.exec(told) ?? [];
        return Number(to) - Number(from);
      };
      // A mebibyte at half a mebibyte a second.
      expect(await seconds({ io: [{ device, wbps: mebibyte / 2 }] })).toBeGreaterThan(1.5);
    },
    guestMs,
  );

  it(
    'that a later stage lowers holds for who is in the group already',
    async () => {
      const [lower] = cgroupFiles({ pids: 1 });
      const words = `true | echo before; echo ${lower?.text} > '$g'/${lower?.name}; true | echo after`;
      const told = await run({ pids: 8 }, words, 'cat $g/pids.events');
      expect(told).toMatch(/^before\r?$/m);
      expect(told).not.toMatch(/^after\r?$/m);
      expect(told).toMatch(/max [1-9]/);
    },
    guestMs,
  );

  // The last one: the ends of its children interrupt the guest's shell, whose `read` then forgets what it has of the next command (busybox 1.35).
  it(
    'on processes refuses one more',
    async () => {
      const told = await run(
        { pids: 4 },
        'for n in 1 2 3 4 5 6 7 8; do sleep 5 & done',
        'cat $g/pids.events; cat $g/pids.peak; echo 1 > $g/cgroup.kill; until [ -z "$(cat $g/cgroup.procs)" ]; do :; done',
      );
      expect(told).toMatch(/max [1-9]/);
    },
    guestMs,
  );
});

describe('limits', () => {
  it('are read in the units that people write', () => {
    const raw = { memory: '1G', swap: 0, pids: 64, cpu: '150%', io: [{ device: '8:0', read: '10M', 'write-ops': 5 }] };
    const limits = readCgroup(raw);
    expect(cgroupFiles(limits).map(({ name, text }) => `${name}: ${text}`)).toEqual([
      'memory.max: 1073741824',
      'memory.swap.max: 0',
      'pids.max: 64',
      'cpu.max: 150000 100000',
      'io.max: 8:0 rbps=10485760 wbps=max riops=max wiops=5',
    ]);
  });

  it('are the smaller of two, for each device too', () => {
    const one: CgroupLimits = { memory: 5, cpu: 100, io: [{ device: '8:0', rbps: 9 }] };
    const other: CgroupLimits = {
      memory: 6,
      pids: 3,
      io: [
        { device: '8:0', rbps: 10, wbps: 1 },
        { device: '8:16', riops: 2 },
      ],
    };
    const both = {
      memory: 5,
      pids: 3,
      cpu: 100,
      io: [
        { device: '8:0', rbps: 9, wbps: 1 },
        { device: '8:16', riops: 2 },
      ],
    };
    expect(tighter(one, other)).toEqual(both);
    expect(looser(one, other)).toBe('memory 6, and it was 5');
    expect(looser(one, { io: [{ device: '8:0', rbps: 10 }] })).toBe('io rbps of 8:0 10, and it was 9');
    expect(looser(one, { ...both, cpu: 50 })).toBeUndefined();
  });

  it('are not for a device that is none', () => {
    expect(() => cgroupFiles({ io: [{ device: '/dev/null', rbps: 1 }] })).toThrow('/dev/null is no block device');
  });
});
