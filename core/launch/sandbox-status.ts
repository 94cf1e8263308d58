// SPDX-License-Identifier: Apache-2.0
import type { BrokerStatus } from '../broker/protocol.ts';

/** A sandbox as it is now, for programs and people; `ratchet ctl PATH status` prints it. */
export interface SandboxStatus {
  readonly pid: number;
  readonly vmm: string;
  readonly stage: string;
  readonly stages: readonly string[];
  readonly threads: readonly {
    readonly tid: number;
    readonly name: string;
    readonly role: string;
    readonly filters: number;
  }[];
  readonly broker: {
    readonly pid: number;
    readonly alive: boolean;
    readonly allowed: number;
    readonly denied: number;
    /** Connections that are being made. */
    readonly pending: number;
    /** Brokers that followed one that died. */
    readonly restarts: number;
  };
  /** Named programs that run for it. */
  readonly programs: BrokerStatus['programs'];
  readonly grants: BrokerStatus['grants'];
  /** What may be granted while the VM runs, in this stage. */
  readonly mayGrant: BrokerStatus['mayGrant'];
}
