// SPDX-License-Identifier: Apache-2.0
// The meaning of a program: the function from calls to returned values that its instructions compute.
//
// One pass forward: for each instruction the register contents that can reach it (few, because contents that will not be read again are forgotten),
// and with each the calls that do. What is returned there is the answer to just these calls. Ways that rejoin are one set of calls, so chains of tests
// cost their length, not their number of paths; a way that no call takes is not followed; and nothing is approximated, so equal diagrams are equal programs.
// (Backward, from the answers, a test of a low word would be asked for every high word, though it is reached with one.)

import { canonicalAction } from '../simulator/action.ts';
import { type Instruction, isConditionalJump, opcode } from '../simulator/instruction.ts';
import { atLeast, type BitVector, constantBits, equal, intersects } from './bit-vector.ts';
import { always, type Diagram, type Diagrams, never } from './diagram.ts';
import { liveBefore } from './liveness.ts';
import { bitsOf, Machine, type MachineState } from './machine-state.ts';

/** The calls that reach an instruction with these contents. */
interface Arrival {
  readonly state: MachineState;
  calls: Diagram;
}

/** The function of a program that `findInvalidity` has no objection to. Throws FILTER_UNPROVEN when it grows past all bounds. */
export function programDiagram(diagrams: Diagrams, instructions: readonly Instruction[]): Diagram {
  const machine = new Machine(diagrams);
  const live = liveBefore(instructions);
  const compare = comparisons(diagrams, machine);
  const arrivals: Map<string, Arrival>[] = instructions.map(() => new Map());
  /** Of the calls that have been answered so far. */
  let answers = diagrams.terminal(0);

  const arrive = (target: number, given: MachineState, calls: Diagram): void => {
    if (calls === never) return;
    const state = machine.restrict(given, live[target] as number);
    const at = arrivals[target] as Map<string, Arrival>;
    const key = machine.key(state);
    const before = at.get(key);
    if (before === undefined) at.set(key, { state, calls });
    else before.calls = diagrams.or(before.calls, calls);
  };
  const answer = (calls: Diagram, value: Diagram): void => {
    answers = diagrams.choose(calls, value, answers);
  };

  arrive(0, machine.initial(live[0] as number), always);
  instructions.forEach((instruction, pc) => {
    for (const { state, calls } of (arrivals[pc] as Map<string, Arrival>).values())
      follow(instruction, pc, state, calls);
  });
  return answers;

  function follow(instruction: Instruction, pc: number, state: MachineState, calls: Diagram): void {
    const { code, jt, jf, k } = instruction;
    if (code === opcode.returnConstant) answer(calls, diagrams.terminal(canonicalAction(k)));
    else if (code === opcode.returnAccumulator)
      answer(calls, diagrams.map(canonicalAction, numberOf(diagrams, bitsOf(state.a))));
    else if (code === opcode.jump) arrive(pc + 1 + k, state, calls);
    else if (isConditionalJump(code)) {
      const holds = compare(instruction, state);
      arrive(pc + 1 + jt, state, diagrams.and(holds, calls));
      arrive(pc + 1 + jf, state, diagrams.choose(holds, never, calls));
    } else if (code === opcode.divideX) {
      // A division by zero ends the program with 0.
      const divisorIsZero = equal(diagrams, bitsOf(state.x), constantBits(0n, 32));
      answer(diagrams.and(divisorIsZero, calls), diagrams.terminal(0));
      arrive(pc + 1, machine.step(state, instruction), diagrams.choose(divisorIsZero, never, calls));
    } else arrive(pc + 1, machine.step(state, instruction), calls);
  }
}

/** The condition of a jump; the same test of the same value is asked many times, so answers are kept. */
function comparisons(diagrams: Diagrams, machine: Machine): (instruction: Instruction, state: MachineState) => Diagram {
  const known = new Map<string, Diagram>();
  return ({ code, k }, { a, x }) => {
    const againstX = (code & 0x08) !== 0;
    const right = againstX ? x : machine.constant(k);
    const operation = code & ~0x08;
    const key = `${operation},${a?.id},${right?.id}`;
    const found = known.get(key);
    if (found !== undefined) return found;
    const result = compareVectors(diagrams, operation, bitsOf(a), bitsOf(right));
    known.set(key, result);
    return result;
  };
}

function compareVectors(diagrams: Diagrams, operation: number, left: BitVector, right: BitVector): Diagram {
  switch (operation) {
    case opcode.jumpEqual:
      return equal(diagrams, left, right);
    case opcode.jumpGreater:
      return atLeast(diagrams, left, right, true);
    case opcode.jumpGreaterOrEqual:
      return atLeast(diagrams, left, right, false);
    default:
      return intersects(diagrams, left, right);
  }
}

/** The number that a vector's bits make up, as one function. */
function numberOf(diagrams: Diagrams, bits: BitVector): Diagram {
  let result: Diagram = never;
  bits.forEach((bit, index) => {
    const weighted = diagrams.choose(bit, diagrams.terminal(2 ** index), never);
    result =
      bit === always
        ? diagrams.map((value) => value + 2 ** index, result)
        : diagrams.combine((value, more) => value + more, result, weighted);
  });
  return result;
}
