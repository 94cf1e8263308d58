// SPDX-License-Identifier: Apache-2.0
// What a stage requires of the process before it is entered, looked at from outside. A look sees one moment: a descriptor may appear between it and
// the filter. So the look is repeated when the filter is on, in every thread: from then on the calls that make such descriptors are refused, if the
// stage refuses them, and what the second look does not see is not there.
import { readFileSync } from 'node:fs';
import { type Holdings, native } from '../../native/index.ts';
import { RatchetError } from '../errors.ts';
import { type FdKind, fdKinds } from '../policy/preconditions.ts';
import type { Requirements } from '../policy/types.ts';
import { type HeldFd, heldFds } from './fd-kinds.ts';

export interface Examined {
  readonly pid: number;
  readonly pidfd: number;
  readonly stage: string;
  /** Filters that every thread has by now. */
  readonly filters: number;
}

/** What is in the way, each in one sentence; nothing when the stage may be entered. @throws NativeError ESRCH when the process has ended. */
export function findObstacles({ pid, pidfd, filters }: Examined, requires: Requirements): readonly string[] {
  const holdings = native.lookAtHoldings({ pid, pidfd, descriptors: requires.noFds.length > 0 });
  return [
    ...heldFds(pid, holdings).flatMap((held) => forbidden(held, requires)),
    ...(requires.noChildren ? childrenAmong(holdings) : []),
    ...(requires.sameFilters ? laggardsAmong(holdings, filters) : []),
  ];
}

/** @throws RatchetError PRECONDITION_FAILED naming everything that is in the way. */
export function obstructed(stage: string, obstacles: readonly string[], what: string): RatchetError {
  return new RatchetError('PRECONDITION_FAILED', `stage ${stage} ${what}: ${obstacles.join('; ')}`, {
    next: 'end what is in the way, choose the feature that needs it, or change `requires` of the stage',
  });
}

function forbidden({ fd, what, kind }: HeldFd, { noFds }: Requirements): readonly string[] {
  const required = noFds.find((each) => each.kind === kind || each.kind === what);
  if (required === undefined) return [];
  const { source, why } = required;
  const danger = Object.hasOwn(fdKinds, required.kind) ? ` (${fdKinds[required.kind as FdKind]})` : '';
  const held = fd === undefined ? what : `fd ${fd} is ${what}`;
  return [`${held}, of kind ${required.kind}${danger}, against ${source.file}:${source.line}: ${why}`];
}

function childrenAmong({ threads }: Holdings): readonly string[] {
  return threads
    .flatMap(({ children }) => children)
    .map((child) => `it has the child process ${child} (${nameOf(child)})`);
}

function laggardsAmong({ threads }: Holdings, filters: number): readonly string[] {
  return threads
    .filter((thread) => thread.filters < filters)
    .map(({ tid, name, filters: has }) => `thread ${tid} (${name}) has ${has} filters, not ${filters}`);
}

/** Empty when it has ended. */
function nameOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').trim();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ESRCH') return '';
    throw error;
  }
}
