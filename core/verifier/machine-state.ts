// SPDX-License-Identifier: Apache-2.0
// What the registers and scratch words of a program hold, as functions of the call, and what one instruction makes of them.

import { type Instruction, opcode, scratchWords, seccompDataBytes } from '../simulator/instruction.ts';
import {
  type BitVector,
  bitwise,
  constantBits,
  product,
  quotient,
  shifted,
  shiftedBy,
  sum,
  wordBits,
} from './bit-vector.ts';
import type { Diagrams } from './diagram.ts';
import { liveA, liveX } from './liveness.ts';

/** A value held in a register; equal values are one object. */
export interface Value {
  readonly id: number;
  readonly bits: BitVector;
}

/** Registers at one point of a program. `undefined`: never read again. */
export interface MachineState {
  readonly a: Value | undefined;
  readonly x: Value | undefined;
  readonly memory: readonly (Value | undefined)[];
}

/** Owner of the values of one program. */
export class Machine {
  private readonly diagrams: Diagrams;
  private readonly byContent = new Map<string, Value>();
  private readonly words = new Map<number, Value>();
  private readonly constants = new Map<number, Value>();

  constructor(diagrams: Diagrams) {
    this.diagrams = diagrams;
  }

  /** The registers at entry: A and X are 0 (the interpreter clears them). */
  initial(live: number): MachineState {
    const zero = this.constant(0);
    return this.restrict({ a: zero, x: zero, memory: new Array<undefined>(scratchWords).fill(undefined) }, live);
  }

  /** Forgets what is not live. */
  restrict(state: MachineState, live: number): MachineState {
    return {
      a: live & liveA ? state.a : undefined,
      x: live & liveX ? state.x : undefined,
      memory:
        (live & 0xffff) === 0
          ? noMemory
          : state.memory.map((value, index) => (live & (1 << index) ? value : undefined)),
    };
  }

  key(state: MachineState): string {
    const scratch = state.memory === noMemory ? '' : state.memory.map((value) => value?.id ?? '').join();
    return `${state.a?.id ?? ''};${state.x?.id ?? ''};${scratch}`;
  }

  constant(k: number): Value {
    const known = this.constants.get(k);
    if (known !== undefined) return known;
    const created = this.value(constantBits(BigInt(k >>> 0), 32));
    this.constants.set(k, created);
    return created;
  }

  /** The state after an instruction that is neither a jump nor a return. */
  step(state: MachineState, { code, k }: Instruction): MachineState {
    const { a, x, memory } = state;
    switch (code) {
      case opcode.loadAbsolute:
        return { a: this.word(k), x, memory };
      case opcode.loadImmediate:
        return { a: this.constant(k), x, memory };
      case opcode.loadLength:
        return { a: this.constant(seccompDataBytes), x, memory };
      case opcode.loadMemory:
        return { a: memory[k], x, memory };
      case opcode.loadXImmediate:
        return { a, x: this.constant(k), memory };
      case opcode.loadXLength:
        return { a, x: this.constant(seccompDataBytes), memory };
      case opcode.loadXMemory:
        return { a, x: memory[k], memory };
      case opcode.store:
        return { a, x, memory: memory.with(k, a) };
      case opcode.storeX:
        return { a, x, memory: memory.with(k, x) };
      case opcode.copyToX:
        return { a, x: a, memory };
      case opcode.copyFromX:
        return { a: x, x, memory };
      default:
        return { a: this.value(this.arithmetic(code, bitsOf(a), k, x)), x, memory };
    }
  }

  private word(offset: number): Value {
    const known = this.words.get(offset);
    if (known !== undefined) return known;
    const created = this.value(wordBits(this.diagrams, offset));
    this.words.set(offset, created);
    return created;
  }

  private arithmetic(code: number, a: BitVector, k: number, x: Value | undefined): BitVector {
    const { diagrams } = this;
    const constant = (): BitVector => this.constant(k).bits;
    switch (code) {
      case opcode.add:
        return sum(diagrams, a, constant(), false);
      case opcode.addX:
        return sum(diagrams, a, bitsOf(x), false);
      case opcode.subtract:
        return sum(diagrams, a, constant(), true);
      case opcode.subtractX:
        return sum(diagrams, a, bitsOf(x), true);
      case opcode.multiply:
        return product(diagrams, a, constant());
      case opcode.multiplyX:
        return product(diagrams, a, bitsOf(x));
      case opcode.divide:
        return quotient(diagrams, a, constant());
      case opcode.divideX:
        return quotient(diagrams, a, bitsOf(x));
      case opcode.and:
        return bitwise(diagrams, 'and', a, constant());
      case opcode.andX:
        return bitwise(diagrams, 'and', a, bitsOf(x));
      case opcode.or:
        return bitwise(diagrams, 'or', a, constant());
      case opcode.orX:
        return bitwise(diagrams, 'or', a, bitsOf(x));
      case opcode.xor:
        return bitwise(diagrams, 'xor', a, constant());
      case opcode.xorX:
        return bitwise(diagrams, 'xor', a, bitsOf(x));
      case opcode.shiftLeft:
        return shifted(a, k);
      case opcode.shiftRight:
        return shifted(a, -k);
      case opcode.shiftLeftX:
        return shiftedBy(diagrams, a, bitsOf(x), 1);
      case opcode.shiftRightX:
        return shiftedBy(diagrams, a, bitsOf(x), -1);
      case opcode.negate:
        return sum(diagrams, constantBits(0n, 32), a, true);
      default:
        throw new TypeError(`opcode 0x${code.toString(16)} is not arithmetic`);
    }
  }

  private value(bits: BitVector): Value {
    const content = bits.join();
    const known = this.byContent.get(content);
    if (known !== undefined) return known;
    const created = { id: this.byContent.size, bits };
    this.byContent.set(content, created);
    return created;
  }
}

const noMemory: readonly (Value | undefined)[] = new Array<undefined>(scratchWords).fill(undefined);

/** Validity was checked before, so what is read was written; X and A start as 0. */
export function bitsOf(value: Value | undefined): BitVector {
  if (value === undefined) throw new TypeError('a register is read that was held to be dead');
  return value.bits;
}
