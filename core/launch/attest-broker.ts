// SPDX-License-Identifier: Apache-2.0
// The broker looked at from outside, as the VMM is: what it said of itself counts for nothing here, except where the kernel shows nothing (Landlock).
import { readlinkSync } from 'node:fs';
import { type Inspection, type NativeError, native } from '../../native/index.ts';
import type { Confinement } from '../broker/confinement.ts';
import { RatchetError } from '../errors.ts';
import { OwnedFd } from '../owned-fd.ts';
import { capabilityNames } from '../self/capabilities.ts';
import { ownFilterCount } from '../stages/tasks.ts';
import { type BrokerNamespace, namesInProc } from './broker-namespaces.ts';
import type { Mechanism } from './report.ts';

export interface BrokerAttestation {
  readonly ok: boolean;
  readonly mechanisms: readonly Mechanism[];
}

/** Checks every thread of a broker that has said hello. `deadlineMs`: for looking at a thread. */
export function attestBroker(
  pid: number,
  confinement: Confinement,
  deadlineMs: number,
  own: readonly BrokerNamespace[] = [],
): BrokerAttestation {
  const inspection = inspect(pid, deadlineMs);
  const checks = [
    seccomp(inspection, confinement),
    capabilities(inspection, confinement),
    ...(own.length === 0 ? [] : [namespaces(pid, inspection.threads, own)]),
  ];
  return {
    ok: checks.every(({ ok }) => ok),
    mechanisms: [...checks.map(({ mechanism }) => mechanism), landlock(confinement)],
  };
}

function inspect(pid: number, deadlineMs: number): Inspection {
  try {
    using pidfd = new OwnedFd(native.openPidfd({ pid, thread: false }));
    return native.inspectThreads({ pid, pidfd: pidfd.fd, patienceMs: 0, deadlineMs });
  } catch (error) {
    if ((error as NativeError).code !== 'ESRCH') throw error;
    return { threads: [], programs: [], unreadable: 0, longestStopMicroseconds: 0 };
  }
}

/** @throws RatchetError VERIFICATION_FAILED. */
export function requireConfined(
  pid: number,
  confinement: Confinement,
  deadlineMs: number,
  own: readonly BrokerNamespace[] = [],
): void {
  const { ok, mechanisms } = attestBroker(pid, confinement, deadlineMs, own);
  if (ok) return;
  const missed = mechanisms.filter(({ state }) => state === 'absent').map(({ name, reason }) => `${name}: ${reason}`);
  throw new RatchetError(
    'VERIFICATION_FAILED',
    `the broker (pid ${pid}) is not confined as it should be: ${missed.join('; ')}`,
    {
      next: 'this is a bug; the VM is not started',
    },
  );
}

interface Check {
  readonly ok: boolean;
  readonly mechanism: Mechanism;
}

/** Each stage adds two filters to a thread: the common one, then its role's. */
function seccomp({ threads, programs }: Inspection, { stages }: Confinement): Check {
  const name = 'broker-seccomp';
  if (threads.length === 0) return missing(name, 'the broker has ended');
  const inherited = ownFilterCount();
  const mains = chains(stages, 'main');
  const files = chains(stages, 'files');
  let filesThreads = 0;
  let read = 0;
  for (const thread of threads) {
    const entered = (thread.filters - inherited) / 2;
    const who = `thread ${thread.tid} (${thread.name})`;
    if (thread.mode !== 2 || !thread.noNewPrivs || mains[entered - 1] === undefined)
      return missing(name, `${who} has mode ${thread.mode} and ${thread.filters} filters`);
    if (thread.programs === undefined || thread.programs.length === 0) continue;
    read += 1;
    const own = thread.programs.slice(inherited).map((place) => programs[place] as Buffer);
    if (equal(own, files[entered - 1])) filesThreads += 1;
    else if (!equal(own, mains[entered - 1])) return missing(name, `${who} has other programs than were compiled`);
  }
  const all = read === threads.length;
  if (all && filesThreads !== 1) return missing(name, `${filesThreads} threads may open files, not one`);
  const how = all ? 'each program read back, one thread for files' : `the programs of ${read} could be read back`;
  return {
    ok: true,
    mechanism: { name, state: all ? 'enforced' : 'partial', reason: `on all ${threads.length} threads; ${how}` },
  };
}

function chains(stages: Confinement['stages'], role: 'main' | 'files'): readonly (readonly Uint8Array[])[] {
  return stages.map((_, index) => stages.slice(0, index + 1).flatMap((stage) => [stage.all, stage[role]]));
}

function equal(found: readonly Buffer[], wanted: readonly Uint8Array[] | undefined): boolean {
  return (
    wanted !== undefined &&
    found.length === wanted.length &&
    found.every((program, index) => program.equals(wanted[index] ?? Buffer.of()))
  );
}

function capabilities({ threads }: Inspection, { capabilities: permitted }: Confinement): Check {
  const held = threads.reduce((all, thread) => all | thread.capabilities, 0n);
  const name = 'broker-capabilities';
  const excess = capabilityNames(held & ~permitted);
  if (excess.length > 0) return missing(name, `it holds ${excess.join(', ')}, which its grants do not need`);
  return {
    ok: true,
    mechanism: { name, state: 'enforced', reason: held === 0n ? 'none' : capabilityNames(held).join(', ') },
  };
}

/** Threads can be in different ones: each is looked at. */
function namespaces(pid: number, threads: Inspection['threads'], own: readonly BrokerNamespace[]): Check {
  const name = 'broker-namespaces';
  for (const kind of own.map((each) => namesInProc[each]))
    for (const { tid } of threads)
      if (readlinkSync(`/proc/${pid}/task/${tid}/ns/${kind}`) === readlinkSync(`/proc/self/ns/${kind}`))
        return missing(name, `thread ${tid} is in the launcher's ${kind}`);
  return { ok: true, mechanism: { name, state: 'enforced', reason: own.join(', ') } };
}

function landlock({ landlock: domain }: Confinement): Mechanism {
  const name = 'broker-landlock';
  if (domain === null)
    return {
      name,
      state: 'absent',
      reason: 'the kernel has no Landlock, and the launcher said that it may be missing',
    };
  const roots = domain.rights.map(({ path }) => path).join(', ');
  return {
    name,
    state: 'enforced',
    reason: `tried by the broker before its hello; the kernel does not show it. Files beneath: ${roots}`,
  };
}

function missing(name: string, reason: string): Check {
  return { ok: false, mechanism: { name, state: 'absent', reason } };
}
