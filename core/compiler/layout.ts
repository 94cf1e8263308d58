// SPDX-License-Identifier: Apache-2.0
// Gives a decision graph addresses. Instructions are placed from the last to the first, so every target of a jump is already placed when the
// jump is; classic BPF jumps only forward, and at most 255 instructions when conditional.
//
// The hot side of a test follows it directly where it can: the kernel's JIT needs one machine instruction for a conditional jump with one
// offset of 0 and two otherwise. Returns are repeated where the nearest copy is out of reach; anything else out of reach is
// reached over a JA, on the cold side.

import { encodeProgram, type Instruction, opcode } from '../simulator/instruction.ts';
import type { Decision, TestDecision, TestOp } from './decision.ts';

export interface LayoutOptions {
  /** Fewer copies of returns: smaller, a little slower. */
  readonly compact: boolean;
  /** Long parts that few calls reach stand at the end, behind the search for the number. Shorter jumps for all others, longer ones for these. */
  readonly outline: boolean;
}

const opcodeOfTest: Readonly<Record<TestOp, number>> = {
  equal: opcode.jumpEqual,
  'at-least': opcode.jumpGreaterOrEqual,
  above: opcode.jumpGreater,
  'any-bit': opcode.jumpSet,
};

/** Room kept for the jumps that may have to be put between a test and its targets. */
const reach = 255 - 2;

/** What `outline` moves: parts of this many instructions that fewer than this share of the calls get to. */
const longSize = 12;
const seldomShare = 0.01;

/** The instructions of a graph. */
export function layOut(root: Decision, options: LayoutOptions): Instruction[] {
  /** Last instruction first. */
  const reversed: Instruction[] = [];
  const placed = new Map<Decision, number>();
  const sizes = new Map<Decision, number>();

  const push = (instruction: Instruction): number => reversed.push(instruction) - 1;
  const distanceTo = (position: number): number => reversed.length - position - 1;

  const place = (decision: Decision): number => {
    const known = placed.get(decision);
    if (known !== undefined) return known;
    const position = build(decision);
    placed.set(decision, position);
    return position;
  };

  const build = (decision: Decision): number => {
    switch (decision.kind) {
      case 'return':
        return push({ code: opcode.returnConstant, jt: 0, jf: 0, k: decision.value });
      case 'load':
        return before(decision.next, { code: opcode.loadAbsolute, jt: 0, jf: 0, k: decision.offset });
      case 'mask':
        return before(decision.next, { code: opcode.and, jt: 0, jf: 0, k: decision.mask });
      case 'test':
        return buildTest(decision);
    }
  };

  /** Places an instruction so that control falls through it to `next`. */
  const before = (next: Decision, instruction: Instruction): number => {
    const target = place(next);
    if (distanceTo(target) > 0) {
      if (next.kind === 'return') placed.set(next, build(next));
      else push(jumpOver(distanceTo(target)));
    }
    return push(instruction);
  };

  const buildTest = (test: TestDecision): number => {
    const yesIsHot = test.yesWeight >= test.noWeight;
    const hot = yesIsHot ? test.yes : test.no;
    const cold = yesIsHot ? test.no : test.yes;
    // A subtree is placed as a whole after the test, and pushes the other side away by its size: the hot one stands next, unless
    // the cold one would then be out of reach and the hot one would not.
    const coldIsNext = sizeOf(hot) > reach && sizeOf(cold) <= reach;
    const [far, near] = coldIsNext ? [hot, cold] : [cold, hot];
    if (far.kind !== 'return') place(far);
    if (near.kind !== 'return') place(near);
    let hotAt = hot.kind === 'return' ? returnNear(hot) : place(hot);
    let coldAt = cold.kind === 'return' ? returnNear(cold) : place(cold);
    if (distanceTo(coldAt) > reach) coldAt = push(jumpOver(distanceTo(coldAt)));
    if (distanceTo(hotAt) > reach) hotAt = push(jumpOver(distanceTo(hotAt)));
    if (distanceTo(hotAt) > 0 && distanceTo(coldAt) > 0 && !options.compact) {
      // Neither side follows: a copy of a return costs one instruction of size and saves one of execution.
      if (hot.kind === 'return') hotAt = copyReturn(hot);
      else if (cold.kind === 'return') coldAt = copyReturn(cold);
    }
    const hotOffset = distanceTo(hotAt);
    const coldOffset = distanceTo(coldAt);
    return push({
      code: opcodeOfTest[test.op],
      jt: yesIsHot ? hotOffset : coldOffset,
      jf: yesIsHot ? coldOffset : hotOffset,
      k: test.constant,
    });
  };

  const returnNear = (decision: Decision): number => {
    const known = placed.get(decision);
    return known !== undefined && distanceTo(known) <= reach - 2 ? known : copyReturn(decision);
  };

  const copyReturn = (decision: Decision): number => {
    const position = build(decision);
    placed.set(decision, position);
    return position;
  };

  /** Instructions that placing it now would take, about: parts that are shared count each time. */
  const sizeOf = (decision: Decision): number => {
    if (placed.has(decision)) return 0;
    let size = sizes.get(decision);
    if (size === undefined) {
      size = 1;
      if (decision.kind === 'test') size += sizeOf(decision.yes) + sizeOf(decision.no);
      else if (decision.kind !== 'return') size += sizeOf(decision.next);
      sizes.set(decision, size);
    }
    return size;
  };

  if (options.outline) for (const decision of seldom(root)) if (sizeOf(decision) >= longSize) place(decision);
  const start = place(root);
  if (distanceTo(start) > 0) push(jumpOver(distanceTo(start)));
  return reversed.reverse();
}

/** The argument parts that few of the calls reach, rarest first. */
function seldom(root: Decision): Decision[] {
  const weights = new Map<Decision, number>();
  let total = 0;
  const visit = (decision: Decision, weight: number): void => {
    if (decision.kind === 'test') {
      visit(decision.yes, decision.yesWeight);
      visit(decision.no, decision.noWeight);
      return;
    }
    total += weight;
    if (decision.kind === 'load') weights.set(decision, (weights.get(decision) ?? 0) + weight);
  };
  visit(numberSearch(root), 0);
  return [...weights]
    .filter(([, weight]) => weight < total * seldomShare)
    .sort(([, a], [, b]) => a - b)
    .map(([decision]) => decision);
}

/** Behind the loads and tests of the architecture and the load of the number. */
function numberSearch(root: Decision): Decision {
  let at = root;
  while (at.kind === 'load') {
    at = at.next;
    if (at.kind === 'test' && at.yes.kind === 'load' && at.no.kind === 'return') at = at.yes;
  }
  return at;
}

/** The same as bytes. */
export function layOutBytes(root: Decision, options: LayoutOptions): Uint8Array {
  return encodeProgram(layOut(root, options));
}

function jumpOver(distance: number): Instruction {
  return { code: opcode.jump, jt: 0, jf: 0, k: distance };
}
