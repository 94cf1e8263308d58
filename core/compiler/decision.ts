// SPDX-License-Identifier: Apache-2.0
// A program before it has addresses: a graph of loads, masks, tests and returns. Nodes are unique, so equal tails are one node.

/** Byte offset into seccomp_data of what the accumulator holds, and the mask applied to it. Tests of different contents never share a node. */
export type Decision = ReturnDecision | LoadDecision | MaskDecision | TestDecision;

export interface ReturnDecision {
  readonly kind: 'return';
  readonly id: number;
  readonly value: number;
}

export interface LoadDecision {
  readonly kind: 'load';
  readonly id: number;
  readonly offset: number;
  readonly next: Decision;
}

export interface MaskDecision {
  readonly kind: 'mask';
  readonly id: number;
  readonly mask: number;
  readonly next: Decision;
}

export type TestOp = 'equal' | 'at-least' | 'above' | 'any-bit';

export interface TestDecision {
  readonly kind: 'test';
  readonly id: number;
  readonly op: TestOp;
  readonly constant: number;
  readonly yes: Decision;
  readonly no: Decision;
  /** How often each side is taken, for the layout. */
  readonly yesWeight: number;
  readonly noWeight: number;
}

/** Makes and owns the nodes of one program. */
export class DecisionGraph {
  private readonly nodes = new Map<string, Decision>();

  return(value: number): Decision {
    return this.intern(`r${value}`, (id) => ({ kind: 'return', id, value }));
  }

  load(offset: number, next: Decision): Decision {
    if (next.kind === 'return' || next.kind === 'load') return next;
    return this.intern(`l${offset},${next.id}`, (id) => ({ kind: 'load', id, offset, next }));
  }

  mask(mask: number, next: Decision): Decision {
    if (next.kind === 'return' || next.kind === 'load') return next;
    return this.intern(`m${mask},${next.id}`, (id) => ({ kind: 'mask', id, mask, next }));
  }

  /** `contents` says what the accumulator holds here (see `Decision`). */
  test(contents: string, test: Omit<TestDecision, 'kind' | 'id'>): Decision {
    if (test.yes === test.no) return test.yes;
    return this.intern(`t${contents},${test.op},${test.constant},${test.yes.id},${test.no.id}`, (id) => ({
      kind: 'test',
      id,
      ...test,
    }));
  }

  private intern(key: string, create: (id: number) => Decision): Decision {
    const known = this.nodes.get(key);
    if (known !== undefined) return known;
    const created = create(this.nodes.size);
    this.nodes.set(key, created);
    return created;
  }
}
