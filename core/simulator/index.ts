// SPDX-License-Identifier: Apache-2.0
export {
  actionOnly,
  canonicalAction,
  combineActions,
  decodeAction,
  describeAction,
  encodeAction,
  permits,
  refuses,
  returnValue,
} from './action.ts';
export { archOffset, argumentOffset, auditArch, callOfWords, callWords, numberOffset, x32Bit } from './call-data.ts';
export { disassemble, wordName } from './disassemble.ts';
export {
  decodeProgram,
  encodeProgram,
  type Instruction,
  isConditionalJump,
  maxInstructions,
  opcode,
} from './instruction.ts';
export { run, runOnWords, type SimulatedVerdict } from './run.ts';
