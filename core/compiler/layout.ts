// SPDX-License-Identifier: Apache-2.0
// Gives a decision graph addresses. Instructions are placed from the last to the first, so every target of a jump is already placed when the
// jump is; classic BPF jumps only forward, and at most 255 instructions when conditional.
//
// The hot side of a test follows it directly where it can: the kernel's JIT needs one machine instruction for a conditional jump with one
// offset of 0 and two otherwise. Returns are repeated where the nearest copy is out of reach; anything else out of reach is
// reached over a JA, on the cold side.

import { type Instruction, opcode } from '../simulator/instruction.ts';
import type { Decision, TestDecision, TestOp } from './decision.ts';

export interface LayoutOptions {
  /** Fewer copies of returns: smaller, a little slower. */
  readonly compact: boolean;
  /** Long parts that less than this share of the calls reach stand at the end. Shorter jumps for all others, longer ones for these. */
  readonly outlineShare: number;
}

const opcodeOfTest: Readonly<Record<TestOp, number>> = {
  equal: opcode.jumpEqual,
  'at-least': opcode.jumpGreaterOrEqual,
  above: opcode.jumpGreater,
  'any-bit': opcode.jumpSet,
};

/** Room kept for the jumps that may have to be put between a test and its targets. */
const reach = 255 - 2;

/** Tests that at least this share of the calls reach are worth more instructions of size. */
const oftenShare = 0.005;

/** Parts of up to this many instructions are repeated where they are out of reach. */
const copySize = 6;

/** What `outlineShare` moves has at least this many instructions. */
const longSize = 12;

/** The instructions of a graph. */
export function layOut(root: Decision, options: LayoutOptions): Instruction[] {
  /** Last instruction first. */
  const reversed: Instruction[] = [];
  const placed = new Map<Decision, number>();
  const sizes = new Map<Decision, number>();

  const reached = sharesOf(root);
  const isOften = (decision: Decision): boolean => !options.compact && (reached.get(decision) ?? 0) >= oftenShare;

  const push = (instruction: Instruction): number => reversed.push(instruction) - 1;
  const distanceTo = (position: number): number => reversed.length - position - 1;

  const place = (decision: Decision): number => {
    const known = placed.get(decision);
    if (known !== undefined && (distanceTo(known) <= reach || !isWorthACopy(decision))) return known;
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
    if (distanceTo(hotAt) > 0 && distanceTo(coldAt) > 0 && isOften(test)) {
      // Neither side follows: a copy of a return makes the program longer to attach, and saves a machine instruction of each call.
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

  /** A short part that is out of reach is repeated: a jump would cost one instruction each time. */
  const isWorthACopy = (decision: Decision): boolean => isOften(decision) && lengthOf(decision, copySize) <= copySize;

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

  for (const decision of seldom(root, reached, options.outlineShare)) if (sizeOf(decision) >= longSize) place(decision);
  const start = place(root);
  if (distanceTo(start) > 0) push(jumpOver(distanceTo(start)));
  return reversed.reverse();
}

/** Instructions of a part, its shared parts counted each time; counted no further than past `most`. */
function lengthOf(decision: Decision, most: number): number {
  if (decision.kind === 'return' || most <= 0) return 1;
  if (decision.kind !== 'test') return 1 + lengthOf(decision.next, most - 1);
  const yes = lengthOf(decision.yes, most - 1);
  return 1 + yes + lengthOf(decision.no, most - 1 - yes);
}

/** Whole parts that less than a share of the calls reach, rarest first. */
function seldom(root: Decision, reached: ReadonlyMap<Decision, number>, share: number): Decision[] {
  const found = new Set<Decision>();
  const seen = new Set<Decision>();
  const collect = (decision: Decision): void => {
    if (seen.has(decision)) return;
    seen.add(decision);
    if ((reached.get(decision) ?? 0) < share) found.add(decision);
    else for (const [next] of nextOf(decision)) collect(next);
  };
  collect(root);
  return [...found].sort((a, b) => (reached.get(a) ?? 0) - (reached.get(b) ?? 0) || a.id - b.id);
}

/** The share of the calls that get to each part. */
function sharesOf(root: Decision): ReadonlyMap<Decision, number> {
  const all = new Set<Decision>();
  const visit = (decision: Decision): void => {
    if (all.has(decision)) return;
    all.add(decision);
    for (const [next] of nextOf(decision)) visit(next);
  };
  visit(root);
  const shares = new Map<Decision, number>([[root, 1]]);
  // A part is made after those that it leads to, so its number is higher.
  for (const decision of [...all].sort((a, b) => b.id - a.id))
    for (const [next, part] of nextOf(decision))
      shares.set(next, (shares.get(next) ?? 0) + part * (shares.get(decision) ?? 0));
  return shares;
}

/** What follows a part, and on which share of the calls that get there. */
function nextOf(decision: Decision): readonly (readonly [Decision, number])[] {
  switch (decision.kind) {
    case 'return':
      return [];
    case 'load':
    case 'mask':
      return [[decision.next, 1]];
    case 'test': {
      const { yes, no, yesWeight, noWeight } = decision;
      const share = yesWeight + noWeight > 0 ? yesWeight / (yesWeight + noWeight) : 0.5;
      return [
        [yes, share],
        [no, 1 - share],
      ];
    }
  }
}

function jumpOver(distance: number): Instruction {
  return { code: opcode.jump, jt: 0, jf: 0, k: distance };
}
