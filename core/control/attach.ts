// SPDX-License-Identifier: Apache-2.0
import type { SandboxEvent } from '../launch/events.ts';
import type { EnforcementReport } from '../launch/report.ts';
import type { SandboxStatus } from '../launch/sandbox.ts';
import { controlEvents, controlRequest } from './client.ts';

/** A sandbox that another process launched and serves (`ratchet run --control PATH`, with `--detach` for one that outlives its caller). */
export class AttachedSandbox {
  readonly path: string;

  constructor(path: string) {
    this.path = path;
  }

  /** Any command of `ratchet ctl`, e.g. `request('nic-add', {id: 'net1', tap: 'rt0'})`. @throws RatchetError with the code that the launcher gave. */
  request(command: string, commandArguments: object = {}): Promise<unknown> {
    return controlRequest(this.path, command, commandArguments);
  }

  async status(): Promise<SandboxStatus> {
    return (await this.request('status')) as SandboxStatus;
  }

  async enter(stage: string): Promise<EnforcementReport> {
    return (await this.request('stage', { name: stage })) as EnforcementReport;
  }

  async attest(): Promise<EnforcementReport> {
    return (await this.request('attest')) as EnforcementReport;
  }

  /** From now on, until the VM ends. */
  async *events(): AsyncGenerator<SandboxEvent> {
    for await (const line of controlEvents(this.path)) yield JSON.parse(line) as SandboxEvent;
  }
}

/** Finds a running sandbox again. Descriptors from its broker come by `--agents` (brokers/PROTOCOL.md). @throws RatchetError CONTROL_FAILED when none answers there. */
export async function attach(path: string): Promise<AttachedSandbox> {
  const sandbox = new AttachedSandbox(path);
  await sandbox.status();
  return sandbox;
}
