// SPDX-License-Identifier: Apache-2.0
export { type CompiledFilter, type CompileOptions, compileFilter } from './compile-filter.ts';
export type { CallCounts } from './weights.ts';
