// SPDX-License-Identifier: Apache-2.0
export { type CompiledFilter, compileFilter } from './compile-filter.ts';
export { type CompiledProfile, type CompiledProgram, type CompiledStage, compileProfile } from './compile-profile.ts';
export { expectedInstructions, expectedMeasure } from './expected-cost.ts';
export type { CompileOptions } from './target.ts';
export type { CallCounts } from './weights.ts';
