// SPDX-License-Identifier: Apache-2.0
// What a stage requires of the process before it is entered, looked at from outside. A look sees one moment: a descriptor may appear between it and
// the filter. So the look is repeated when the filter is on, in every thread: from then on the calls that make such descriptors are refused, if the
// stage refuses them, and what the second look does not see is not there.
import { readdirSync, readFileSync } from 'node:fs';
import { RatchetError } from '../errors.ts';
import { type FdKind, fdKinds } from '../policy/preconditions.ts';
import type { Requirements } from '../policy/types.ts';
import { type HeldFd, readFds } from './fd-kinds.ts';
import { readTasks } from './tasks.ts';

export interface Examined {
  readonly pid: number;
  readonly pidfd: number;
  readonly stage: string;
  /** Filters that every thread has by now. */
  readonly filters: number;
}

/** What is in the way, each in one sentence; nothing when the stage may be entered. */
export function findObstacles(examined: Examined, requires: Requirements): readonly string[] {
  const { pid, pidfd, filters } = examined;
  return [
    ...(requires.noFds.length === 0 ? [] : readFds(pid, pidfd).flatMap((held) => forbidden(held, requires))),
    ...(requires.noChildren ? childrenOf(pid) : []),
    ...(requires.sameFilters ? laggards(pid, filters) : []),
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

function childrenOf(pid: number): readonly string[] {
  return taskIds(pid).flatMap((tid) => {
    const children = readIfThere(`/proc/${pid}/task/${tid}/children`).trim();
    return children === ''
      ? []
      : children.split(' ').map((child) => `it has the child process ${child} (${nameOf(child)})`);
  });
}

function laggards(pid: number, filters: number): readonly string[] {
  return readTasks(pid)
    .filter((task) => task.filters < filters)
    .map(({ tid, name, filters: has }) => `thread ${tid} (${name}) has ${has} filters, not ${filters}`);
}

function taskIds(pid: number): readonly string[] {
  try {
    return readdirSync(`/proc/${pid}/task`);
  } catch {
    return [];
  }
}

function nameOf(pid: string): string {
  return readIfThere(`/proc/${pid}/comm`).trim();
}

/** Empty when it has ended. */
function readIfThere(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ESRCH') return '';
    throw error;
  }
}
