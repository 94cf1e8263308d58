// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import type { Arch } from '../../core/policy/types.ts';
import {
  archesWith,
  archNames,
  auditArchOf,
  constantName,
  constantValue,
  errnoName,
  errnoNames,
  errnoNumber,
  isKnownSignature,
  lastKnownNr,
  parameterOf,
  parametersOf,
  syscallName,
  syscallNames,
  syscallNumber,
} from '../../core/tables/index.ts';
import { packagePath } from '../../native/package-path.ts';

interface HeaderTables {
  readonly errnos: Readonly<Record<string, number>>;
  readonly architectures: Readonly<
    Partial<
      Record<
        Arch,
        { readonly syscalls: Readonly<Record<string, number>>; readonly constants: Readonly<Record<string, string>> }
      >
    >
  >;
}

describe('the tables', () => {
  // The headers may be newer than the committed tables: what they add is no fault, what they contradict is.
  it('agree with the kernel headers of this machine', () => {
    const text = execFileSync(process.execPath, [packagePath('native/tables/generate.mjs'), '--json'], {
      encoding: 'utf8',
      maxBuffer: 1 << 26,
    });
    const headers = JSON.parse(text) as HeaderTables;
    expect(Object.keys(headers.architectures)).toEqual(archNames);
    for (const arch of archNames) {
      const here = headers.architectures[arch];
      if (here === undefined) continue;
      for (const name of syscallNames(arch))
        expect([name, here.syscalls[name]]).toEqual([name, syscallNumber(arch, name)]);
      const differing = Object.entries(here.constants).filter(([name, value]) => {
        const committed = constantValue(arch, name);
        return committed !== undefined && String(committed) !== value;
      });
      expect(differing).toEqual([]);
    }
    for (const name of errnoNames()) expect([name, headers.errnos[name]]).toEqual([name, errnoNumber(name)]);
  });

  it.each<[Arch, string, number]>([
    ['x86_64', 'read', 0],
    ['x86_64', 'connect', 42],
    ['x86_64', 'execveat', 322],
    ['x86_64', 'clone3', 435],
    ['x86_64', 'uretprobe', 335],
    ['aarch64', 'read', 63],
    ['aarch64', 'openat', 56],
    ['aarch64', 'newfstatat', 79],
    ['riscv64', 'connect', 203],
    ['riscv64', 'riscv_flush_icache', 259],
    ['x86_64', 'mseal', 462],
    ['aarch64', 'open_tree_attr', 467],
    ['riscv64', 'file_setattr', 469],
  ])('on %s %s is %i', (arch, name, nr) => {
    expect(syscallNumber(arch, name)).toBe(nr);
    expect(syscallName(arch, nr)).toBe(name);
  });

  it('have each number once', () => {
    for (const arch of archNames) {
      const names = syscallNames(arch);
      expect(new Set(names.map((name) => syscallNumber(arch, name))).size).toBe(names.length);
      expect(lastKnownNr(arch)).toBeGreaterThanOrEqual(467);
    }
  });

  it('know which architectures have a call', () => {
    expect(archesWith('open')).toEqual(['x86_64']);
    expect(archesWith('openat')).toEqual(['x86_64', 'aarch64', 'riscv64']);
    expect(archesWith('opne')).toEqual([]);
    expect(syscallNumber('aarch64', 'open')).toBeUndefined();
    expect(syscallNumber('x86_64', 'toString')).toBeUndefined();
  });

  it('know the signature of every call', () => {
    for (const arch of archNames)
      for (const name of syscallNames(arch)) expect([name, isKnownSignature(arch, name)]).toEqual([name, true]);
    for (const arch of archNames)
      for (const name of syscallNames(arch)) expect(parametersOf(arch, name).length).toBeLessThanOrEqual(6);
  });

  it.each<[Arch, string, readonly string[]]>([
    ['x86_64', 'socket', ['domain:low32', 'type:low32', 'protocol:low32']],
    ['x86_64', 'ioctl', ['fd:low32', 'cmd:low32', 'arg:full64']],
    ['x86_64', 'mmap', ['addr:full64', 'length:full64', 'prot:full64', 'flags:full64', 'fd:full64', 'offset:full64']],
    ['x86_64', 'openat', ['dfd:low32', 'filename:full64', 'flags:low32', 'mode:low32']],
    ['x86_64', 'sendto', ['fd:low32', 'buf:full64', 'len:full64', 'flags:low32', 'addr:full64', 'addrlen:low32']],
    ['x86_64', 'prctl', ['option:low32', 'arg2:full64', 'arg3:full64', 'arg4:full64', 'arg5:full64']],
    ['x86_64', 'clone', ['flags:full64', 'stack:full64', 'parent_tid:full64', 'child_tid:full64', 'tls:full64']],
    ['aarch64', 'clone', ['flags:full64', 'stack:full64', 'parent_tid:full64', 'tls:full64', 'child_tid:full64']],
    ['riscv64', 'futex', ['uaddr:full64', 'op:low32', 'val:low32', 'utime:full64', 'uaddr2:full64', 'val3:low32']],
    ['x86_64', 'execveat', ['dfd:low32', 'filename:full64', 'argv:full64', 'envp:full64', 'flags:low32']],
    ['x86_64', 'getpid', []],
  ])('on %s know the parameters of %s', (arch, name, wanted) => {
    expect(parametersOf(arch, name).map(({ names, width }) => `${names[0]}:${width}`)).toEqual(wanted);
  });

  it("accept the manual page's names beside the kernel's", () => {
    expect(parameterOf('x86_64', 'ioctl', 'request')?.index).toBe(1);
    expect(parameterOf('x86_64', 'prlimit64', 'new_limit')?.index).toBe(2);
    expect(parameterOf('x86_64', 'ioctl', 'nonsense')).toBeUndefined();
  });

  it.each<[Arch, string, bigint | undefined]>([
    ['x86_64', 'AF_NETLINK', 16n],
    ['x86_64', 'AT_FDCWD', -100n],
    ['x86_64', 'O_DIRECT', 0x4000n],
    ['aarch64', 'O_DIRECT', 0x10000n],
    ['x86_64', 'KVM_RUN', 0xae80n],
    ['x86_64', 'KVM_GET_LAPIC', 0x8400ae8en],
    ['aarch64', 'KVM_GET_LAPIC', undefined],
    ['aarch64', 'KVM_ARM_VCPU_INIT', 0x4020aeaen],
    ['riscv64', 'TUNSETIFF', 0x400454can],
    ['x86_64', 'MADV_GUARD_INSTALL', 102n],
    ['x86_64', 'NULL', 0n],
    ['x86_64', 'RATCHET_EXEC_FD', 16383n],
    ['x86_64', 'hasOwnProperty', undefined],
  ])('on %s %s is %s', (arch, name, value) => {
    expect(constantValue(arch, name)).toBe(value);
  });

  it('name values', () => {
    expect(constantName('x86_64', 'AF_', 10n)).toBe('AF_INET6');
    expect(errnoName(38)).toBe('ENOSYS');
    expect(errnoName(11)).toBe('EAGAIN');
    expect(errnoNumber('ENOTSUP')).toBe(95);
    expect(errnoName(4000)).toBeUndefined();
  });

  it('know the audit value of each architecture', () => {
    expect(archNames.map(auditArchOf)).toEqual([0xc000003e, 0xc00000b7, 0xc00000f3]);
  });
});
