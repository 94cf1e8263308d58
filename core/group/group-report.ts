// SPDX-License-Identifier: Apache-2.0
import type { ExitStatus } from '../launch/exit-status.ts';
import type { EnforcementReport } from '../launch/report.ts';
import type { SandboxStatus } from '../launch/sandbox-status.ts';
import type { Member } from './member.ts';

/** Why a group has ended: by its launcher (`member` is undefined), or by the end of a member that the others do not outlive. */
export interface GroupEnd {
  readonly member: string | undefined;
  readonly status: ExitStatus;
  readonly words: string;
}

/** What holds for each member right now. Members that have ended, where that is declared to be nobody else's end, permit nothing and have no report. */
export interface GroupReport {
  readonly group: string;
  readonly ok: boolean;
  readonly members: Readonly<Record<string, EnforcementReport>>;
}

export interface MemberStatus extends SandboxStatus {
  /** How often it was started. */
  readonly starts: number;
  readonly alive: boolean;
}

export interface GroupStatus {
  readonly group: string;
  readonly members: Readonly<Record<string, MemberStatus>>;
}

export function groupReport(group: string, reports: readonly (readonly [string, EnforcementReport])[]): GroupReport {
  return { group, ok: reports.every(([, { ok }]) => ok), members: Object.fromEntries(reports) };
}

export async function memberStatus(member: Member): Promise<MemberStatus> {
  const status = await member.sandbox.status();
  return { ...status, starts: member.starts, alive: member.sandbox.alive };
}
