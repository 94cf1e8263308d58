// SPDX-License-Identifier: Apache-2.0
import { RatchetError } from '../errors.ts';
import type { GroupReport, GroupStatus } from '../group/group-report.ts';
import type { SandboxEvent } from '../launch/events.ts';
import type { EnforcementReport } from '../launch/report.ts';
import type { SandboxStatus } from '../launch/sandbox-status.ts';
import { controlEvents, controlRequest } from './client.ts';

/** What another process launched and serves on a control socket. */
class Attached {
  readonly path: string;

  constructor(path: string) {
    this.path = path;
  }

  /** Any command of `ratchet ctl`, e.g. `request('nic-add', {id: 'net1', tap: 'rt0'})`. @throws RatchetError with the code that the launcher gave. */
  request(command: string, commandArguments: object = {}): Promise<unknown> {
    return controlRequest(this.path, command, commandArguments);
  }

  /** From now on, until it ends. */
  async *events(): AsyncGenerator<SandboxEvent> {
    for await (const line of controlEvents(this.path)) yield JSON.parse(line) as SandboxEvent;
  }
}

/** A sandbox that another process launched and serves (`ratchet run --control PATH`, with `--detach` for one that outlives its caller). */
export class AttachedSandbox extends Attached {
  async status(): Promise<SandboxStatus> {
    return (await this.request('status')) as SandboxStatus;
  }

  async enter(stage: string): Promise<EnforcementReport> {
    return (await this.request('stage', { name: stage })) as EnforcementReport;
  }

  async attest(): Promise<EnforcementReport> {
    return (await this.request('attest')) as EnforcementReport;
  }
}

/** A group that another process launched and serves (`ratchet run --group FILE --control PATH`). */
export class AttachedGroup extends Attached {
  async status(): Promise<GroupStatus> {
    return (await this.request('status')) as GroupStatus;
  }

  /** All members, each verified. */
  async enter(stage: string): Promise<GroupReport> {
    return (await this.request('stage', { name: stage })) as GroupReport;
  }

  async attest(): Promise<GroupReport> {
    return (await this.request('attest')) as GroupReport;
  }
}

/** Finds a running sandbox again. Descriptors from its broker come by `--agents` (brokers/PROTOCOL.md). @throws RatchetError CONTROL_FAILED when none answers there. */
export async function attach(path: string): Promise<AttachedSandbox> {
  const sandbox = new AttachedSandbox(path);
  if (!('members' in (await sandbox.status()))) return sandbox;
  throw new RatchetError('CONTROL_FAILED', `${path} is the control socket of a group`, { next: 'use attachGroup()' });
}

/** Finds a running group again. @throws RatchetError CONTROL_FAILED when none answers there. */
export async function attachGroup(path: string): Promise<AttachedGroup> {
  const group = new AttachedGroup(path);
  if ('members' in (await group.status())) return group;
  throw new RatchetError('CONTROL_FAILED', `${path} is the control socket of a single VM`, { next: 'use attach()' });
}
