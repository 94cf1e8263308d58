// SPDX-License-Identifier: Apache-2.0
// The policy: from a profile's text to a decision table, and what that table says of a call. Pure.

export { formatAction, letsThrough, sameAction } from './actions.ts';
export { dangerousCalls, neverBrokered } from './dangerous.ts';
export { type DescribedArguments, describeCall } from './describe-call.ts';
export { evaluate, matches } from './evaluate.ts';
export { explainRefusal } from './explain-refusal.ts';
export { ExpressionError } from './expression/error.ts';
export { formatCondition } from './expression/format.ts';
export type { ConditionContext } from './expression/operands.ts';
export { parseCondition } from './expression/parse.ts';
export { featuresThatAllow, type ProfileFeature, type RefusedCall, readFeatures } from './features.ts';
export { ceilingOf, type Grant, parseGrant, withGrants } from './grants.ts';
export { assertLaunchable } from './launchable.ts';
export {
  type FileLists,
  type Layers,
  type Mac,
  type RawCgroup,
  readLayers,
  type StageFiles,
  type StageLayers,
  type StageRoot,
} from './layers.ts';
export type { Include } from './library.ts';
export { type ParseOptions, parseProfile } from './parse-profile.ts';
export { formatProblem, formatSource, type Problem, type ProblemCode, ProfileError, problemCodes } from './problem.ts';
export { checkProgramExists } from './programs.ts';
export { restrictCondition } from './restrict.ts';
export { canBothHold, satisfiable } from './satisfiable.ts';
export { profileJsonSchema, profileJsonSchemas } from './schema.ts';
export { withSoak } from './soak.ts';
export { rulesetFd } from './stage-files.ts';
export { nearestName, suggestion } from './suggest.ts';
export { type FilterSummary, summarizeFilter } from './summary.ts';
export { findUntold } from './untold.ts';
