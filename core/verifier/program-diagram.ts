// SPDX-License-Identifier: Apache-2.0
// The meaning of a program: the function from calls to returned values that its instructions compute.
//
// Two passes. Forward: which register contents can reach each instruction (few, because contents that will not be read again are
// forgotten, and feasibility is not asked). Backward: the value returned from each (instruction, contents) as a diagram over the *whole* call,
// a return being a constant and a jump a choice between its two targets. Ways that rejoin share one (instruction, contents), so chains
// of tests cost their length, not their number of paths; and nothing is approximated, so equal diagrams are equal programs.

import { canonicalAction } from '../simulator/action.ts';
import { type Instruction, isConditionalJump, opcode } from '../simulator/instruction.ts';
import { atLeast, type BitVector, constantBits, equal, intersects } from './bit-vector.ts';
import { always, type Diagram, type Diagrams, never } from './diagram.ts';
import { liveBefore } from './liveness.ts';
import { bitsOf, Machine, type MachineState } from './machine-state.ts';

/** The function of a program that `findInvalidity` has no objection to. Throws FILTER_UNPROVEN when it grows past all bounds. */
export function programDiagram(diagrams: Diagrams, instructions: readonly Instruction[]): Diagram {
  const machine = new Machine(diagrams);
  const states = reachableStates(machine, instructions);
  const results: Map<string, Diagram>[] = instructions.map(() => new Map());
  const live = liveBefore(instructions);
  const compare = comparisons(diagrams, machine);

  for (let pc = instructions.length - 1; pc >= 0; pc--) {
    const instruction = instructions[pc] as Instruction;
    const resultAt = (target: number, state: MachineState): Diagram =>
      (results[target] as Map<string, Diagram>).get(
        machine.key(machine.restrict(state, live[target] as number)),
      ) as Diagram;
    for (const [key, state] of states[pc] as Map<string, MachineState>) {
      (results[pc] as Map<string, Diagram>).set(key, resultOf(instruction, pc, state, resultAt));
    }
  }
  return [...(results[0] as Map<string, Diagram>).values()][0] as Diagram;

  function resultOf(
    instruction: Instruction,
    pc: number,
    state: MachineState,
    resultAt: (target: number, state: MachineState) => Diagram,
  ): Diagram {
    const { code, jt, jf, k } = instruction;
    if (code === opcode.returnConstant) return diagrams.terminal(canonicalAction(k));
    if (code === opcode.returnAccumulator) return diagrams.map(canonicalAction, numberOf(diagrams, bitsOf(state.a)));
    if (code === opcode.jump) return resultAt(pc + 1 + k, state);
    if (isConditionalJump(code)) {
      return diagrams.choose(compare(instruction, state), resultAt(pc + 1 + jt, state), resultAt(pc + 1 + jf, state));
    }
    const after = resultAt(pc + 1, machine.step(state, instruction));
    if (code !== opcode.divideX) return after;
    const divisorIsZero = equal(diagrams, bitsOf(state.x), constantBits(0n, 32));
    return diagrams.choose(divisorIsZero, diagrams.terminal(0), after);
  }
}

function reachableStates(machine: Machine, instructions: readonly Instruction[]): Map<string, MachineState>[] {
  const live = liveBefore(instructions);
  const states: Map<string, MachineState>[] = instructions.map(() => new Map());
  const reach = (target: number, state: MachineState): void => {
    const kept = machine.restrict(state, live[target] as number);
    const at = states[target] as Map<string, MachineState>;
    const key = machine.key(kept);
    if (!at.has(key)) at.set(key, kept);
  };
  reach(0, machine.initial(live[0] as number));
  instructions.forEach((instruction, pc) => {
    const { code, jt, jf, k } = instruction;
    if (code === opcode.returnConstant || code === opcode.returnAccumulator) return;
    for (const state of (states[pc] as Map<string, MachineState>).values()) {
      if (code === opcode.jump) reach(pc + 1 + k, state);
      else if (isConditionalJump(code)) {
        reach(pc + 1 + jt, state);
        reach(pc + 1 + jf, state);
      } else reach(pc + 1, machine.step(state, instruction));
    }
  });
  return states;
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
