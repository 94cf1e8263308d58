// SPDX-License-Identifier: Apache-2.0
// The meaning of a policy: the function from calls to SECCOMP_RET_* values that its text describes.

import { RatchetError } from '../errors.ts';
import type { Condition, FilterPolicy, SyscallRules } from '../policy/types.ts';
import { encodeAction } from '../simulator/action.ts';
import { archOffset, argumentOffset, auditArch, numberOffset, x32Bit } from '../simulator/call-data.ts';
import { atLeast, type BitVector, constantBits, equal, wordBits } from './bit-vector.ts';
import { always, type Diagram, type Diagrams, never } from './diagram.ts';
import { firstLevel } from './words.ts';

/** A run of syscall numbers that share one function of the arguments. */
export interface NumberRange {
  readonly from: number;
  /** Inclusive. */
  readonly to: number;
  readonly decision: Diagram;
}

/** The whole policy, foreign ABIs included. */
export function policyDiagram(diagrams: Diagrams, policy: FilterPolicy): Diagram {
  return remembered(diagrams, policy, () => wholePolicy(diagrams, policy));
}

/** Stages share most of their rules as objects, and each policy is looked at more than once. */
function remembered(diagrams: Diagrams, object: object, derive: () => Diagram): Diagram {
  let diagram = diagrams.meanings.get(object);
  if (diagram === undefined) {
    diagram = derive();
    diagrams.meanings.set(object, diagram);
  }
  return diagram;
}

function wholePolicy(diagrams: Diagrams, policy: FilterPolicy): Diagram {
  const native = overNumbers(diagrams, numberRanges(diagrams, policy));
  const isNative = equal(diagrams, wordBits(diagrams, archOffset), constantBits(BigInt(auditArch[policy.arch]), 32));
  return diagrams.choose(isNative, native, diagrams.terminal(encodeAction(policy.foreign)));
}

/** What the policy says on each number of its own architecture; the ranges cover all 2^32, in order. */
export function numberRanges(diagrams: Diagrams, policy: FilterPolicy): NumberRange[] {
  const otherwise = diagrams.terminal(encodeAction(policy.otherwise));
  const unknown = diagrams.terminal(encodeAction(policy.unknown));
  const foreign = diagrams.terminal(encodeAction(policy.foreign));
  const ranges: NumberRange[] = [];
  let next = 0;
  const fill = (to: number, decision: Diagram): void => {
    if (next <= to) ranges.push({ from: next, to, decision });
    next = Math.max(next, to + 1);
  };
  for (const syscall of policy.syscalls) {
    if (syscall.nr < next || syscall.nr > policy.lastKnownNr) {
      throw new RatchetError(
        'ARGUMENT_INVALID',
        `the policy's entry for ${syscall.name} (${syscall.nr}) is out of order or above ${policy.lastKnownNr}`,
        {
          next: 'give one entry a number, sorted',
        },
      );
    }
    fill(syscall.nr - 1, otherwise);
    fill(syscall.nr, syscallDiagram(diagrams, syscall));
  }
  fill(policy.lastKnownNr, otherwise);
  if (policy.arch === 'x86_64') {
    fill(x32Bit - 1, unknown);
    fill(2 * x32Bit - 1, foreign);
    fill(3 * x32Bit - 1, unknown);
    fill(4 * x32Bit - 1, foreign);
  } else {
    fill(4 * x32Bit - 1, unknown);
  }
  return ranges;
}

/** All rules of one syscall as a function of the arguments. Throws ARGUMENT_INVALID on rules that contradict each other. */
export function syscallDiagram(diagrams: Diagrams, syscall: SyscallRules): Diagram {
  return remembered(diagrams, syscall, () => rulesDiagram(diagrams, syscall));
}

function rulesDiagram(diagrams: Diagrams, syscall: SyscallRules): Diagram {
  let result = diagrams.terminal(encodeAction(syscall.otherwise));
  const claimed = new Map<number, Diagram>();
  for (const rule of syscall.rules) {
    const action = encodeAction(rule.action);
    const when = conditionDiagram(diagrams, rule.when);
    for (const [other, region] of claimed) {
      if (other !== action && diagrams.and(region, when) !== never) {
        throw new RatchetError(
          'ARGUMENT_INVALID',
          `two rules for ${syscall.name} decide differently on the same arguments (${rule.source.file}:${rule.source.line})`,
          {
            next: 'make their conditions exclude each other',
          },
        );
      }
    }
    claimed.set(action, diagrams.or(when, claimed.get(action) ?? never));
    result = diagrams.choose(when, diagrams.terminal(action), result);
  }
  return result;
}

/** Where a condition holds. */
export function conditionDiagram(diagrams: Diagrams, condition: Condition): Diagram {
  return remembered(diagrams, condition, () => termDiagram(diagrams, condition));
}

function termDiagram(diagrams: Diagrams, condition: Condition): Diagram {
  switch (condition.kind) {
    case 'always':
      return always;
    case 'never':
      return never;
    case 'compare':
      return compareDiagram(diagrams, condition);
    case 'in':
      return memberDiagram(diagrams, condition);
    case 'and':
      return condition.terms.reduce((sofar, term) => diagrams.and(sofar, conditionDiagram(diagrams, term)), always);
    case 'or':
      return condition.terms.reduce((sofar, term) => diagrams.or(sofar, conditionDiagram(diagrams, term)), never);
    case 'not':
      return diagrams.not(conditionDiagram(diagrams, condition.term));
  }
}

function compareDiagram(diagrams: Diagrams, condition: Extract<Condition, { kind: 'compare' }>): Diagram {
  const bits = argumentBits(diagrams, condition.arg, condition.width);
  const width = bits.length;
  const mask = constantBits(condition.mask, width);
  let left: BitVector = bits.map((bit, index) => (mask[index] === always ? bit : never));
  let right = constantBits(BigInt.asUintN(width, condition.value), width);
  if (condition.signed) {
    // Two's complement order is unsigned order with the sign bit turned over.
    left = left.map((bit, index) => (index === width - 1 ? diagrams.not(bit) : bit));
    right = right.map((bit, index) => (index === width - 1 ? diagrams.not(bit) : bit));
  }
  const holds = orderDiagram(diagrams, condition.op, left, right);
  return diagrams.and(upperWordDiagram(diagrams, condition.arg, condition.width), holds);
}

function orderDiagram(
  diagrams: Diagrams,
  op: Extract<Condition, { kind: 'compare' }>['op'],
  left: BitVector,
  right: BitVector,
): Diagram {
  switch (op) {
    case '==':
      return equal(diagrams, left, right);
    case '!=':
      return diagrams.not(equal(diagrams, left, right));
    case '>=':
      return atLeast(diagrams, left, right, false);
    case '>':
      return atLeast(diagrams, left, right, true);
    case '<':
      return diagrams.not(atLeast(diagrams, left, right, false));
    case '<=':
      return diagrams.not(atLeast(diagrams, left, right, true));
  }
}

/** Built from the sorted values top down, so that thousands of them cost no more than their bits. */
function memberDiagram(diagrams: Diagrams, condition: Extract<Condition, { kind: 'in' }>): Diagram {
  const width = condition.width === 'full64' ? 64 : 32;
  const values = [...new Set(condition.values.map((value) => BigInt.asUintN(width, value)))].sort((a, b) =>
    a < b ? -1 : 1,
  );
  const high = firstLevel(argumentOffset(condition.arg, 'high'));
  const low = firstLevel(argumentOffset(condition.arg, 'low'));
  const lowWords = values.map((value) => Number(value & 0xffffffffn));
  const highWords = values.map((value) => Number(value >> 32n));
  const isSet = (index: number, bit: number): boolean =>
    (((bit >= 32 ? highWords[index] : lowWords[index]) as number) & (1 << (bit & 31))) !== 0;
  const build = (from: number, to: number, bit: number): Diagram => {
    if (from === to) return never;
    if (bit < 0) return always;
    let middle = from;
    let end = to;
    while (middle < end) {
      const probe = (middle + end) >>> 1;
      if (isSet(probe, bit)) end = probe;
      else middle = probe + 1;
    }
    const level = bit >= 32 ? high + 63 - bit : low + 31 - bit;
    return diagrams.node(level, build(from, middle, bit - 1), build(middle, to, bit - 1));
  };
  return diagrams.and(upperWordDiagram(diagrams, condition.arg, condition.width), build(0, values.length, width - 1));
}

function argumentBits(diagrams: Diagrams, arg: number, width: Extract<Condition, { kind: 'in' }>['width']): BitVector {
  const low = wordBits(diagrams, argumentOffset(arg, 'low'));
  return width === 'full64' ? [...low, ...wordBits(diagrams, argumentOffset(arg, 'high'))] : low;
}

/** What a width demands of the high word. */
function upperWordDiagram(
  diagrams: Diagrams,
  arg: number,
  width: Extract<Condition, { kind: 'in' }>['width'],
): Diagram {
  switch (width) {
    case 'low32':
    case 'full64':
      return always;
    case 'zero32':
      return equal(diagrams, wordBits(diagrams, argumentOffset(arg, 'high')), constantBits(0n, 32));
    case 'sign32': {
      const high = wordBits(diagrams, argumentOffset(arg, 'high'));
      const sign = wordBits(diagrams, argumentOffset(arg, 'low'))[31] as Diagram;
      return diagrams.choose(
        sign,
        equal(diagrams, high, constantBits(0xffffffffn, 32)),
        equal(diagrams, high, constantBits(0n, 32)),
      );
    }
  }
}

/** The function of number and arguments that the ranges describe. */
export function overNumbers(diagrams: Diagrams, ranges: readonly NumberRange[]): Diagram {
  const first = firstLevel(numberOffset);
  const build = (base: number, bits: number, from: number): Diagram => {
    const range = ranges[from] as NumberRange;
    if (range.to >= base + 2 ** bits - 1) return range.decision;
    const middle = base + 2 ** (bits - 1);
    return diagrams.node(first + 32 - bits, build(base, bits - 1, from), build(middle, bits - 1, indexOf(middle)));
  };
  const indexOf = (nr: number): number => {
    let low = 0;
    let high = ranges.length - 1;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((ranges[middle] as NumberRange).to >= nr) high = middle;
      else low = middle + 1;
    }
    return low;
  };
  return build(0, 32, 0);
}
