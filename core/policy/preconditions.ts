// SPDX-License-Identifier: Apache-2.0
// What must not be there when a stage is entered: what was opened before works on, past every later filter.

import type { Placed } from './library.ts';
import type { ProblemList } from './problem.ts';
import type { RawRequires } from './schema.ts';
import { suggestion } from './suggest.ts';
import type { Requirements, Source } from './types.ts';

/** Kinds of descriptors that a stage can do without, each with what whoever holds one can do. */
export const fdKinds = {
  bpf: 'runs code in the kernel',
  fanotify: 'hears of accesses to files, and may hold them up',
  'inet-datagram': 'sends to any address without connecting',
  io_uring: 'what a ring does passes no filter',
  kvm: 'makes virtual machines',
  'mount-or-namespace': 'leads into other file systems and namespaces',
  netlink: 'talks to the kernel about the network',
  'packet-socket': 'sends and receives whole frames',
  perf: 'measures the kernel and other processes',
  pidfd: 'signals another process, and takes its descriptors',
  'raw-socket': 'sends packets with any header',
  'seccomp-listener': 'answers the calls of a filter',
  'unix-datagram': 'sends to any unix socket without connecting',
  userfaultfd: "holds up the kernel's own accesses to memory",
} as const;

export type FdKind = keyof typeof fdKinds;

export const noRequirements: Requirements = { noFds: [], noChildren: false, sameFilters: false };

export function isEmpty({ noFds, noChildren, sameFilters }: Requirements): boolean {
  return noFds.length === 0 && !noChildren && !sameFilters;
}

/** A stage's `requires`, with that of the stage it builds on, less what the chosen features need. */
export function readRequires(
  placed: Placed<RawRequires | undefined>,
  base: Requirements,
  tolerated: ReadonlySet<string>,
  problems: ProblemList,
): Requirements {
  const { raw, document, path } = placed;
  const own = (raw?.['no-fds'] ?? []).flatMap((kind, index) => {
    const source = document.at([...path, 'no-fds', index]);
    if (!isFdRequirement(kind, source, problems) || raw === undefined) return [];
    return [{ kind, why: raw.why, source }];
  });
  const named = new Set(own.map(({ kind }) => kind));
  return {
    noFds: [...base.noFds.filter(({ kind }) => !named.has(kind)), ...own].filter(({ kind }) => !tolerated.has(kind)),
    noChildren: raw?.['no-children'] ?? base.noChildren,
    sameFilters: raw?.['same-filters'] ?? base.sameFilters,
  };
}

/** A kind, or the path of a device. */
export function isFdRequirement(kind: string, source: Source, problems: ProblemList): boolean {
  if (Object.hasOwn(fdKinds, kind) || kind.startsWith('/dev/')) return true;
  const known = Object.keys(fdKinds);
  problems.add(
    source,
    'wrong-value',
    `"${kind}" is no kind of descriptor${suggestion(kind, known)}; write one of ${known.join(', ')}, or a path under /dev/`,
  );
  return false;
}
