// SPDX-License-Identifier: Apache-2.0
import type { BrokerClient } from '../broker/client.ts';
import { RatchetError } from '../errors.ts';
import type { BrokerRequestKind } from '../policy/types.ts';

export interface RuntimeGrantOptions {
  readonly request: BrokerRequestKind;
  readonly target: string;
  /** How many attempts it permits, whatever becomes of them; 1: once. Any number when absent. */
  readonly uses?: number;
  /** Counted by a clock that nobody sets. Milliseconds, up to 24 hours. */
  readonly forMs?: number;
  /** Revoked when the migration that is under way, or begins next, has completed, failed or been cancelled. */
  readonly until?: 'migration';
  /** The last stage it holds in; the present one when absent. Every stage up to it must let it be granted. */
  readonly through?: string;
}

/** A permission given while the VM runs. It ends when it is revoked, or by its own terms; what it gave stays given. */
export class RuntimeGrant implements AsyncDisposable {
  readonly id: number;
  readonly request: BrokerRequestKind;
  readonly target: string;
  readonly #client: BrokerClient;

  constructor(client: BrokerClient, id: number, { request, target }: Pick<RuntimeGrantOptions, 'request' | 'target'>) {
    this.#client = client;
    this.id = id;
    this.request = request;
    this.target = target;
  }

  /** From the answer on it permits nothing, and connections that were being made under it are taken back. False when it had ended before. */
  async revoke(): Promise<boolean> {
    try {
      return await this.#client.revoke(this.id);
    } catch (error) {
      // A broker that is gone grants nothing.
      if (error instanceof RatchetError && error.code === 'BROKER_DIED') return false;
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.revoke();
  }
}
