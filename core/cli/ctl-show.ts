// SPDX-License-Identifier: Apache-2.0
// What control commands print for people; programs get the JSON.
import type { GroupReport, GroupStatus } from '../group/group-report.ts';
import { printable } from '../launch/describe-refusal.ts';
import type { EnforcementReport } from '../launch/report.ts';
import type { SandboxStatus } from '../launch/sandbox-status.ts';
import { style, table } from './output.ts';

export type Show = (result: unknown) => string;

export function showStatus(result: unknown): string {
  const status = result as SandboxStatus | GroupStatus;
  return 'members' in status ? groupStatus(status) : sandboxStatus(status);
}

function groupStatus({ group, members }: GroupStatus): string {
  const rows = Object.entries(members).map(([name, { vmm, pid, stage, threads, broker, starts, alive }]) => [
    name,
    vmm,
    alive ? pid : 'ended',
    stage,
    threads.length,
    broker.alive ? broker.pid : 'dead',
    `${broker.allowed}/${broker.denied}`,
    starts,
  ]);
  return [
    `group ${group}`,
    table([['MEMBER', 'PROGRAM', 'PID', 'STAGE', 'THREADS', 'BROKER', 'ALLOWED/DENIED', 'STARTS'], ...rows]),
  ].join('\n');
}

function sandboxStatus(status: SandboxStatus): string {
  const stages = status.stages
    .map((stage) => (stage === status.stage ? style('bold', `[${stage}]`) : stage))
    .join(' > ');
  const { broker } = status;
  return [
    `${status.vmm}, pid ${status.pid}, stage ${stages}`,
    `broker pid ${broker.pid} ${broker.alive ? 'alive' : style('red', 'dead')}, ${broker.allowed} allowed, ${broker.denied} denied`,
    '',
    table([
      ['TID', 'NAME', 'ROLE', 'FILTERS'],
      ...status.threads.map((thread) => [thread.tid, printable(thread.name), thread.role, thread.filters]),
    ]),
  ].join('\n');
}

export function showGrants(result: unknown): string {
  const { grants, mayGrant } = result as Pick<SandboxStatus, 'grants' | 'mayGrant'>;
  const terms = (grant: SandboxStatus['grants'][number]): string =>
    [
      grant.usesLeft === undefined ? undefined : `${grant.usesLeft} uses left`,
      grant.leftMs === undefined ? undefined : `${Math.ceil(grant.leftMs / 1000)} s left`,
      grant.until === undefined ? undefined : `until ${printable(grant.until)}`,
      grant.throughStage === undefined ? undefined : `through ${grant.throughStage}`,
    ]
      .filter((term) => term !== undefined)
      .join(', ');
  return table([
    ['NUMBER', 'REQUEST', 'TARGET', 'TERMS', 'FROM'],
    ...grants.map((grant) => [
      grant.grant ?? '',
      grant.request,
      printable(grant.target),
      terms(grant),
      grant.grant === undefined ? `${grant.file}:${grant.line}` : 'ctl or launcher',
    ]),
    ...mayGrant.map(({ request, target }) => ['', request, printable(target), 'may be granted', '']),
  ]);
}

export function showReport(result: unknown): string {
  const report = result as EnforcementReport | GroupReport;
  if (!('members' in report)) return sandboxReport(report);
  return Object.entries(report.members)
    .map(([name, member]) => `${style('bold', name)}: ${sandboxReport(member)}`)
    .join('\n\n');
}

function sandboxReport(report: EnforcementReport): string {
  return [
    `stage ${report.stage}, pid ${report.pid}: ${report.ok ? style('green', 'as it should be') : style('red', 'NOT as it should be')}`,
    table([
      ['MECHANISM', 'STATE', 'REASON'],
      ...report.mechanisms.map(({ name, state, reason }) => [name, state, reason]),
    ]),
  ].join('\n');
}

export function showDone(word: string): Show {
  return () => word;
}

export function showAdded(result: unknown): string {
  return `added ${JSON.stringify(result)}`;
}

export function showJsonLines(result: unknown): string {
  return Object.entries(result as object)
    .map(([key, value]) => `${key}: ${typeof value === 'object' ? JSON.stringify(value) : value}`)
    .join('\n');
}
