// SPDX-License-Identifier: Apache-2.0
import type { ResolvedProfile, ResolvedStage } from '../core/policy/types.ts';
import { type ParsedRule, parseRules } from './judge.ts';

export interface CurrentStage {
  readonly stage: ResolvedStage;
  readonly rules: readonly ParsedRule[];
}

/** Where the broker stands in the profile. It only moves forward. */
export class Stages {
  readonly profile: ResolvedProfile;
  readonly #parsed: readonly CurrentStage[];
  #at = 0;

  /** Parses every stage's rules: a rule that cannot be read must stop the launch, not a later stage. */
  constructor(profile: ResolvedProfile) {
    this.profile = profile;
    this.#parsed = profile.stages.map((stage) => ({ stage, rules: parseRules(stage.broker, profile.hosts) }));
  }

  get current(): CurrentStage {
    const current = this.#parsed[this.#at];
    if (current === undefined) throw new Error('a profile without stages');
    return current;
  }

  /** Those that were left, in their order. */
  get earlier(): readonly CurrentStage[] {
    return this.#parsed.slice(0, this.#at);
  }

  get epoch(): number {
    return this.#at;
  }

  get count(): number {
    return this.#parsed.length;
  }

  /** From the stage of now on there is no granting rule, and none can be added. */
  get grantsNothingMore(): boolean {
    return this.#parsed
      .slice(this.#at)
      .every(
        ({ stage }) =>
          stage.closedToGrants === true && stage.broker.every(({ refuseErrno }) => refuseErrno !== undefined),
      );
  }

  /** False, and nothing changed, when that is not a later stage. */
  move(epoch: number): boolean {
    if (epoch <= this.#at || epoch >= this.#parsed.length) return false;
    this.#at = epoch;
    return true;
  }
}
