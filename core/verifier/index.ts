// SPDX-License-Identifier: Apache-2.0
export { describeCall } from './describe-call.ts';
export { findInvalidity } from './validity.ts';
export { type CounterExample, findCounterExample, verifyFilter } from './verify.ts';
