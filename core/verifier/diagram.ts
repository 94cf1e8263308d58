// SPDX-License-Identifier: Apache-2.0
// Decision diagrams over the bits of struct seccomp_data: the exact domain of every proof here.
//
// A diagram is a function from a call to a 32-bit value: an action, or 0 and 1 for a condition. It is reduced and ordered, and nodes are
// unique, so two functions are equal exactly when their node numbers are. The order of the variables is arch, number, then each
// argument's high and low word, each from its most significant bit down; comparisons with constants then need one node a bit.
// [R. Bryant, Graph-Based Algorithms for Boolean Function Manipulation, 1986; terminals with values: Clarke et al. 1993]

import { RatchetError } from '../errors.ts';

/** Number of a node in its `Diagrams`. */
export type Diagram = number;

/** Level of terminals: below every variable. */
export const terminalLevel = 512;

/** Past this many nodes a foreign program is given up on (some seconds, 50 MB); compiled ones need a few thousand. */
const maxNodes = 2_000_000;

const cacheSlots = 1 << 15;

/** Node 0 and node 1 of every `Diagrams`. */
export const never: Diagram = 0;
export const always: Diagram = 1;

/** An owner of nodes. Diagrams of different owners must not be mixed. */
export class Diagrams {
  private levels = new Int32Array(1 << 13);
  private lows = new Int32Array(1 << 13);
  private highs = new Int32Array(1 << 13);
  private table = new Int32Array(1 << 14).fill(-1);
  private count = 0;
  private readonly terminals = new Map<number, Diagram>();
  private readonly cache = new Int32Array(cacheSlots * 4).fill(-1);
  private readonly combineCache = new Int32Array(cacheSlots * 4).fill(-1);
  private readonly operations = new WeakMap<object, number>();
  private nextOperation = 0;
  /** Diagrams of policies, their entries and conditions, by the object they were made from. */
  readonly meanings = new WeakMap<object, Diagram>();
  /** Bits of the words of a call, by the word's offset. */
  readonly words = new Map<number, readonly Diagram[]>();

  constructor() {
    this.terminal(0);
    this.terminal(1);
  }

  /** The constant function. */
  terminal(value: number): Diagram {
    const key = value >>> 0;
    const known = this.terminals.get(key);
    if (known !== undefined) return known;
    const created = this.append(terminalLevel, key | 0, 0);
    this.terminals.set(key, created);
    return created;
  }

  isTerminal(diagram: Diagram): boolean {
    return this.levels[diagram] === terminalLevel;
  }

  /** The value of a terminal. */
  valueOf(diagram: Diagram): number {
    return (this.lows[diagram] as number) >>> 0;
  }

  level(diagram: Diagram): number {
    return this.levels[diagram] as number;
  }

  /** The function where the bit of `level` is 0; the same function when it does not begin with that bit. */
  low(diagram: Diagram, level: number): Diagram {
    return this.levels[diagram] === level ? (this.lows[diagram] as number) : diagram;
  }

  high(diagram: Diagram, level: number): Diagram {
    return this.levels[diagram] === level ? (this.highs[diagram] as number) : diagram;
  }

  /** The function that is `low` where the bit is 0 and `high` where it is 1; both must begin below `level`. */
  node(level: number, low: Diagram, high: Diagram): Diagram {
    if (low === high) return low;
    const mask = this.table.length - 1;
    let slot = hash3(level, low, high) & mask;
    for (;;) {
      const found = this.table[slot] as number;
      if (found < 0) break;
      if (this.levels[found] === level && this.lows[found] === low && this.highs[found] === high) return found;
      slot = (slot + 1) & mask;
    }
    const created = this.append(level, low, high);
    this.table[slot] = created;
    if (created * 2 > this.table.length) this.rehash();
    return created;
  }

  /** `condition ? yes : no`, pointwise. */
  choose(condition: Diagram, yes: Diagram, no: Diagram): Diagram {
    if (condition === always || yes === no) return yes;
    if (condition === never) return no;
    if (yes === always && no === never) return condition;
    const { levels } = this;
    const top = levels[condition] as number;
    if (top < (levels[yes] as number) && top < (levels[no] as number)) {
      // One bit that stands above both, as most conditions do that are built from the lowest bit up.
      const low = this.lows[condition] as number;
      const high = this.highs[condition] as number;
      if (low === never && high === always) return this.node(top, no, yes);
      if (low === always && high === never) return this.node(top, yes, no);
    }
    const slot = (hash3(condition, yes, no) & (cacheSlots - 1)) * 4;
    const cache = this.cache;
    if (cache[slot] === condition && cache[slot + 1] === yes && cache[slot + 2] === no)
      return cache[slot + 3] as number;
    const level = Math.min(top, levels[yes] as number, levels[no] as number);
    const low = this.choose(this.low(condition, level), this.low(yes, level), this.low(no, level));
    const high = this.choose(this.high(condition, level), this.high(yes, level), this.high(no, level));
    const result = this.node(level, low, high);
    cache[slot] = condition;
    cache[slot + 1] = yes;
    cache[slot + 2] = no;
    cache[slot + 3] = result;
    return result;
  }

  not(condition: Diagram): Diagram {
    return this.choose(condition, never, always);
  }

  and(first: Diagram, second: Diagram): Diagram {
    return this.choose(first, second, never);
  }

  or(first: Diagram, second: Diagram): Diagram {
    return this.choose(first, always, second);
  }

  xor(first: Diagram, second: Diagram): Diagram {
    return this.choose(first, this.not(second), second);
  }

  /** `operation` on the values of two functions, pointwise. */
  combine(operation: (first: number, second: number) => number, first: Diagram, second: Diagram): Diagram {
    return this.combined(operation, this.operationId(operation), first, second);
  }

  /** `operation` on the values of one function. */
  map(operation: (value: number) => number, diagram: Diagram): Diagram {
    return this.combine((value) => operation(value), diagram, never);
  }

  /** All values that the function takes. */
  values(diagram: Diagram): Set<number> {
    const found = new Set<number>();
    const seen = new Set<Diagram>();
    const stack = [diagram];
    for (let next = stack.pop(); next !== undefined; next = stack.pop()) {
      if (seen.has(next)) continue;
      seen.add(next);
      if (this.isTerminal(next)) found.add(this.valueOf(next));
      else stack.push(this.lows[next] as number, this.highs[next] as number);
    }
    return found;
  }

  /** Value of the function where `bit(level)` gives each variable. */
  evaluate(diagram: Diagram, bit: (level: number) => boolean): number {
    let at = diagram;
    while (!this.isTerminal(at)) at = (bit(this.level(at)) ? this.highs[at] : this.lows[at]) as number;
    return this.valueOf(at);
  }

  private combined(operation: (first: number, second: number) => number, id: number, f: Diagram, g: Diagram): Diagram {
    const { levels } = this;
    const level = Math.min(levels[f] as number, levels[g] as number);
    if (level === terminalLevel) return this.terminal(operation(this.valueOf(f), this.valueOf(g)));
    const slot = (hash3(id, f, g) & (cacheSlots - 1)) * 4;
    const cache = this.combineCache;
    if (cache[slot] === id && cache[slot + 1] === f && cache[slot + 2] === g) return cache[slot + 3] as number;
    const low = this.combined(operation, id, this.low(f, level), this.low(g, level));
    const high = this.combined(operation, id, this.high(f, level), this.high(g, level));
    const result = this.node(level, low, high);
    cache[slot] = id;
    cache[slot + 1] = f;
    cache[slot + 2] = g;
    cache[slot + 3] = result;
    return result;
  }

  private operationId(operation: object): number {
    let id = this.operations.get(operation);
    if (id === undefined) {
      id = this.nextOperation++;
      this.operations.set(operation, id);
    }
    return id;
  }

  private append(level: number, low: number, high: number): Diagram {
    if (this.count === this.levels.length) this.grow();
    const created = this.count++;
    this.levels[created] = level;
    this.lows[created] = low;
    this.highs[created] = high;
    return created;
  }

  private grow(): void {
    const size = this.levels.length * 2;
    if (size > maxNodes * 2) {
      throw new RatchetError('FILTER_UNPROVEN', `the program's decisions need more than ${maxNodes} diagram nodes`, {
        next: 'it computes with arguments in a way that cannot be followed exactly; write its rules as comparisons',
      });
    }
    this.levels = extended(this.levels, size);
    this.lows = extended(this.lows, size);
    this.highs = extended(this.highs, size);
  }

  private rehash(): void {
    const table = new Int32Array(this.table.length * 4).fill(-1);
    const mask = table.length - 1;
    for (let id = 0; id < this.count; id++) {
      if (this.levels[id] === terminalLevel) continue;
      let slot = hash3(this.levels[id] as number, this.lows[id] as number, this.highs[id] as number) & mask;
      while ((table[slot] as number) >= 0) slot = (slot + 1) & mask;
      table[slot] = id;
    }
    this.table = table;
  }
}

function extended(array: Int32Array, size: number): Int32Array<ArrayBuffer> {
  const larger = new Int32Array(size);
  larger.set(array);
  return larger;
}

function hash3(a: number, b: number, c: number): number {
  let h = Math.imul(a, 0x9e3779b1) ^ Math.imul(b, 0x85ebca6b) ^ Math.imul(c, 0xc2b2ae35);
  h ^= h >>> 15;
  h = Math.imul(h, 0x2c1b3c6d);
  return h ^ (h >>> 13);
}
