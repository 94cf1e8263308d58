// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { evaluate, letsThrough, matches, neverBrokered } from '../../core/policy/index.ts';
import type { Action, FilterPolicy, ResolvedProfile, Verdict } from '../../core/policy/types.ts';
import { loadFeatures, loadProfile, shippedProfiles } from '../../core/profile-files.ts';
import { archNames, auditArchOf, syscallNames, syscallNumber } from '../../core/tables/index.ts';
import { type Args, probes } from './probes.ts';

const none: Args = [0n, 0n, 0n, 0n, 0n, 0n];

function ask(filter: FilterPolicy, name: string, args: Args = none): Verdict {
  return evaluate(filter, { nr: syscallNumber(filter.arch, name) ?? -1, auditArch: auditArchOf(filter.arch), args });
}

function stageOf(profile: ResolvedProfile, name: string): FilterPolicy {
  const stage = profile.stages.find((candidate) => candidate.name === name);
  if (stage === undefined) throw new Error(`no stage ${name}`);
  return stage.filter;
}

const everyProfile = shippedProfiles().flatMap((name) => archNames.map((arch) => ({ name, arch })));

describe.each(everyProfile)('the profile $name on $arch', ({ name, arch }) => {
  const features = loadFeatures(name, { arch }).map((feature) => feature.name);
  const profile = loadProfile(name, { arch, features });

  it('has in every rule arguments that meet it and, where it has a condition, arguments that do not', () => {
    for (const { filter } of profile.stages) {
      for (const { name: call, rules } of filter.syscalls) {
        for (const rule of rules) {
          const tries = [...probes([rule.when])];
          const met = tries.find((args) => matches(rule.when, args));
          expect(met, `${call}: ${rule.whenText}`).toBeDefined();
          if (met !== undefined) expect(ask(filter, call, met).action).toEqual(rule.action);
          const unmet = tries.find((args) => !matches(rule.when, args));
          if (rule.when.kind !== 'always') expect(unmet, `${call}: ${rule.whenText}`).toBeDefined();
        }
      }
    }
  });

  it('permits in no stage what an earlier one refuses', () => {
    for (const [index, { filter }] of profile.stages.entries()) {
      const earlier = profile.stages[index - 1]?.filter;
      if (earlier === undefined) continue;
      for (const call of syscallNames(arch)) {
        const rules = [earlier, filter].flatMap(
          ({ syscalls }) => syscalls.find((entry) => entry.name === call)?.rules ?? [],
        );
        for (const args of probes(
          rules.map(({ when }) => when),
          3000,
        )) {
          const before = openness(ask(earlier, call, args).action);
          const after = openness(ask(filter, call, args).action);
          if (after > before) expect([call, args, after]).toEqual([call, args, before]);
        }
      }
    }
  });

  it('says why in every rule', () => {
    for (const { filter, broker } of profile.stages) {
      for (const { rules } of filter.syscalls) for (const { why } of rules) expect(why.length).toBeGreaterThan(5);
      for (const { why } of broker) expect(why.length).toBeGreaterThan(5);
    }
  });

  it('never brokers what a process needs to end', () => {
    for (const { filter } of profile.stages) {
      for (const call of neverBrokered) expect(ask(filter, call).action.kind).not.toBe('broker');
    }
  });

  it('kills foreign calls and answers ENOSYS to calls of the future', () => {
    for (const { filter } of profile.stages) {
      expect(evaluate(filter, { nr: 0, auditArch: 0x40000003, args: none }).action.kind).toBe('kill-process');
      expect(evaluate(filter, { nr: 9000, auditArch: auditArchOf(arch), args: none }).action).toEqual({
        kind: 'errno',
        errno: 38,
        quiet: true,
      });
    }
  });
});

/** A brokered call may be performed; a broker's refusal may not be looser than an earlier kernel's. */
function openness(action: Action): number {
  return letsThrough(action) ? 2 : action.kind === 'broker' ? 1 : 0;
}

describe('the profile of QEMU', () => {
  const profile = loadProfile('qemu', { arch: 'x86_64' });
  const start = stageOf(profile, 'start');
  const running = stageOf(profile, 'running');
  const sealed = stageOf(profile, 'sealed');
  const [enosys, eacces, eperm] = [38, 13, 1];

  function answers(filter: FilterPolicy, call: string, ...args: (bigint | number)[]): string {
    const padded = [...args.map(BigInt), ...none].slice(0, 6) as unknown as Args;
    const { action } = ask(filter, call, padded);
    return action.kind === 'errno' ? `errno ${action.errno}${action.quiet ? ' quiet' : ''}` : action.kind;
  }

  it('has the stages start, running and sealed', () => {
    expect(profile.stages.map(({ name }) => name)).toEqual(['start', 'running', 'sealed']);
    expect(profile.vmm).toBe('qemu');
  });

  it('permits exactly one form of exec, in the first stage only', () => {
    const emptyPath = 0x1000;
    const execFd = 16383;
    expect(answers(start, 'execveat', execFd, 1, 1, 1, emptyPath)).toBe('broker');
    for (const fd of [execFd - 1, execFd + 1, 3, 0xffffffff])
      expect(answers(start, 'execveat', fd, 1, 1, 1, emptyPath)).toBe(`errno ${eacces}`);
    for (const flags of [0, emptyPath | 0x100])
      expect(answers(start, 'execveat', execFd, 1, 1, 1, flags)).toBe(`errno ${eacces}`);
    expect(answers(running, 'execveat', execFd, 1, 1, 1, emptyPath)).toBe(`errno ${eacces}`);
    for (const filter of [start, running, sealed]) expect(answers(filter, 'execve', 1, 1, 1)).toBe(`errno ${eacces}`);
  });

  it('makes threads, and no processes', () => {
    const glibc = 0x3d0f00;
    const musl = 0x7d0f00;
    for (const filter of [start, running, sealed]) {
      for (const flags of [glibc, musl]) expect(answers(filter, 'clone', flags)).toBe('allow');
      // fork, vfork, a thread with its own files, and new namespaces.
      for (const flags of [0x1200011, 0x4111, glibc & ~0x400, glibc | 0x10000000, glibc | 0x20000000])
        expect(answers(filter, 'clone', flags)).toBe(`errno ${eperm}`);
      expect(answers(filter, 'clone3')).toBe(`errno ${enosys} quiet`);
      expect(answers(filter, 'fork')).toBe(`errno ${eperm}`);
      expect(answers(filter, 'io_uring_setup')).toBe(`errno ${enosys} quiet`);
    }
  });

  it('makes no executable memory once the guest can run', () => {
    const [read, write, exec] = [1, 2, 4];
    for (const call of ['mmap', 'mprotect']) {
      expect(answers(start, call, 0, 4096, read | write | exec)).toBe('allow');
      expect(answers(running, call, 0, 4096, read | write)).toBe('allow');
      expect(answers(running, call, 0, 4096, read | exec)).toBe(`errno ${eperm}`);
      expect(answers(running, call, 0, 4096, exec | 0x100)).toBe(`errno ${eperm}`);
    }
  });

  it('has stream sockets and the route socket only', () => {
    const [unix, inet, inet6, netlink, packet, vsock, alg] = [1, 2, 10, 16, 17, 40, 38];
    const [stream, datagram, raw, seqpacket] = [1, 2, 3, 5];
    const flags = 0x80800;
    for (const filter of [start, running]) {
      for (const family of [unix, inet, inet6]) {
        expect(answers(filter, 'socket', family, stream | flags, 0)).toBe('allow');
        for (const type of [datagram, raw, seqpacket, 0, 7])
          expect(answers(filter, 'socket', family, type, 0)).toMatch(/^errno/);
      }
      expect(answers(filter, 'socket', inet, stream, 6)).toBe('allow');
      // MPTCP, SCTP, DCCP
      for (const protocol of [262, 132, 33])
        expect(answers(filter, 'socket', inet, stream, protocol)).toMatch(/^errno/);
      expect(answers(filter, 'socket', netlink, raw | 0x80000, 0)).toBe('allow');
      for (const protocol of [9, 12, 15, 16])
        expect(answers(filter, 'socket', netlink, raw, protocol)).toMatch(/^errno/);
      for (const family of [packet, vsock, alg, 0])
        expect(answers(filter, 'socket', family, stream, 0)).toMatch(/^errno/);
    }
  });

  it('sends to connected peers only', () => {
    const fastOpen = 0x20000000;
    for (const filter of [start, running]) {
      expect(answers(filter, 'sendto', 3, 1, 1, 0, 0, 0)).toBe(filter === start ? 'allow' : `errno ${eperm}`);
      expect(answers(filter, 'sendto', 3, 1, 1, 0, 0x1000, 16)).toBe(`errno ${eacces} quiet`);
      expect(answers(filter, 'sendto', 3, 1, 1, 0, 0x1_0000_0000n, 16)).toBe(`errno ${eacces} quiet`);
      expect(answers(filter, 'sendto', 3, 1, 1, fastOpen, 0, 0)).toBe(`errno ${eperm}`);
      expect(answers(filter, 'sendmsg', 3, 1, 0x4000)).toBe('allow');
      expect(answers(filter, 'sendmsg', 3, 1, fastOpen)).toBe(`errno ${eperm}`);
      expect(answers(filter, 'sendmmsg', 3, 1, 1, 0)).toBe(`errno ${eperm}`);
    }
  });

  it('leaves connect and bind to the broker, and opening too once the guest can run', () => {
    for (const filter of [start, running, sealed])
      for (const call of ['connect', 'bind']) expect(answers(filter, call)).toBe('broker');
    for (const call of ['open', 'openat', 'openat2', 'creat']) {
      expect(answers(start, call)).toBe('allow');
      expect(answers(running, call)).toBe({ openat2: `errno ${enosys}`, creat: `errno ${eperm}` }[call] ?? 'broker');
    }
  });

  it('raises no limit and installs no listener', () => {
    expect(answers(start, 'prlimit64', 0, 7, 0, 0x1000)).toBe('allow');
    expect(answers(start, 'prlimit64', 0, 7, 0x1000, 0)).toBe(`errno ${eperm}`);
    expect(answers(start, 'setrlimit', 7, 0x1000)).toBe(`errno ${eperm}`);
    for (const filter of [start, running, sealed]) {
      for (const flags of [0, 1]) expect(answers(filter, 'seccomp', 1, flags, 0x1000)).toBe('allow');
      for (const flags of [2, 8, 9, 1 | 2]) expect(answers(filter, 'seccomp', 1, flags, 0x1000)).not.toBe('allow');
      expect(answers(filter, 'prctl', 22, 2, 0x1000)).toBe(`errno ${eperm}`);
    }
  });

  it('asks devices what a VM needs, and types into no terminal', () => {
    const [kvmRun, tunSetIff, tiocsti, createVm] = [0xae80, 0x400454ca, 0x5412, 0xae01];
    expect(answers(running, 'ioctl', 3, kvmRun)).toBe('allow');
    expect(answers(running, 'ioctl', 3, BigInt(kvmRun) + 0x1_0000_0000n)).toBe('allow');
    expect(answers(start, 'ioctl', 3, tunSetIff)).toBe('allow');
    expect(answers(running, 'ioctl', 3, tunSetIff)).toBe(`errno ${eperm}`);
    expect(answers(start, 'ioctl', 3, createVm)).toBe('allow');
    expect(answers(running, 'ioctl', 3, createVm)).toBe(`errno ${eperm}`);
    for (const high of [0n, 0x1_0000_0000n])
      expect(answers(start, 'ioctl', 0, BigInt(tiocsti) + high)).toBe(`errno ${eperm}`);
  });

  it('kills for what is never legitimate', () => {
    for (const filter of [start, running, sealed]) {
      for (const call of ['init_module', 'kexec_load', 'ptrace', 'process_vm_writev', 'mount'])
        expect(answers(filter, call)).toBe('kill-process');
    }
  });

  it('grants in the running stage what getaddrinfo and the block layer need, and nothing in the sealed one', () => {
    const rows = (name: string) =>
      profile.stages
        .find((stage) => stage.name === name)
        ?.broker.map(({ request, target, refuseErrno }) => `${request} ${target} ${refuseErrno ?? 'granted'}`);
    expect(rows('running')).toContain('bind netlink:route granted');
    expect(rows('running')).toContain('connect unix:/var/run/nscd/socket 2');
    expect(rows('running')).toContain('open /dev/null granted');
    expect(rows('running')?.filter((row) => row.startsWith('connect') && row.endsWith('granted'))).toEqual([]);
    expect(rows('sealed')).toEqual([]);
  });

  it('adds postcopy only when it is chosen', () => {
    expect(answers(running, 'userfaultfd')).toBe(`errno ${eperm}`);
    expect(
      answers(stageOf(loadProfile('qemu', { arch: 'x86_64', features: ['postcopy'] }), 'running'), 'userfaultfd'),
    ).toBe('allow');
  });
});
