// SPDX-License-Identifier: Apache-2.0
export { predictBitmap, unconditionalSet } from './bitmap.ts';
export { verifyChain } from './chain.ts';
export { describeCall } from './describe-call.ts';
export { diffPrograms, type FilterDifference, type FilterLike } from './diff.ts';
export { type Outcome, programOutcomes } from './outcomes.ts';
export { proveTightening, type TighteningProblem } from './tightening.ts';
export { findInvalidity } from './validity.ts';
export { type CounterExample, findCounterExample, verifyFilter } from './verify.ts';
