// SPDX-License-Identifier: Apache-2.0
// Who may do what now: the rules of the present stage, and what the launcher granted while the VM runs. Both doors ask here, and nowhere else.
import type { BrokerRule } from '../core/policy/types.ts';
import { type Judgement, judge, type ParsedRule, type Refused, type Wish } from './judge.ts';
import type { RuntimeGrants } from './runtime-grants.ts';
import type { Stages } from './stages.ts';

/** Leave to do one thing once. */
export interface Permit {
  readonly granted: true;
  readonly rule: BrokerRule;
  /** Asked again right before the call and before an fd is sent: a stage or a revocation may have come in between. */
  readonly holds: () => boolean;
  /** Whether the same wish gets the same verdict until the stage changes: the profile's own rules permit it, and nothing is used up. */
  readonly lasts: () => boolean;
}

export class Authority {
  readonly #stages: Stages;
  readonly #grants: RuntimeGrants;

  constructor(stages: Stages, grants: RuntimeGrants) {
    this.#stages = stages;
    this.#grants = grants;
  }

  /** The verdict alone; nothing is used up. */
  judge(wish: Wish): Judgement {
    return judge(this.#rules(), wish);
  }

  /** The verdict, and one use of the counted grants that it rests on. */
  permit(wish: Wish): Permit | Refused {
    const judgement = this.judge(wish);
    if (!judgement.granted) return judgement;
    const { rule, also } = judgement;
    // By now it may be used up, and no longer among the rules: it stays good for this.
    const taken = [...new Set([rule, also ?? rule])].flatMap((each) => this.#grants.take(each) ?? []);
    const { epoch } = this.#stages;
    const holds = (): boolean => {
      // The profile's own rules change with the stage alone, and no grant of the launcher refuses anything.
      if (taken.length === 0 && this.#stages.epoch === epoch) return true;
      const own = taken.filter(({ good }) => good()).map(({ parsed }) => parsed);
      return judge([...this.#rules(), ...own], wish).granted;
    };
    return { granted: true, rule, holds, lasts: () => taken.length === 0 && this.#stages.epoch === epoch };
  }

  #rules(): readonly ParsedRule[] {
    const { rules } = this.#stages.current;
    const granted = this.#grants.rules();
    return granted.length === 0 ? rules : [...rules, ...granted];
  }
}
