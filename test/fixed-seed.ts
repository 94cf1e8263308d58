// SPDX-License-Identifier: Apache-2.0
// Property tests draw the same cases in every run, so that a failure is a change of the code and not of the dice.
// `FAST_CHECK_SEED=N npx vitest run ...` tries others; a failure prints the seed that it was found with.
import fc from 'fast-check';

fc.configureGlobal({ seed: Number(process.env['FAST_CHECK_SEED'] ?? 2012) });
