// SPDX-License-Identifier: Apache-2.0
export { archNames, auditArchOf } from './arch.ts';
export { constantName, constantNames, constantValue, errnoName, errnoNames, errnoNumber } from './constants.ts';
export { isKnownSignature, type Parameter, parameterOf, parametersOf } from './signatures.ts';
export { archesWith, lastKnownNr, syscallName, syscallNames, syscallNumber } from './syscalls.ts';
export { hasNamedValues, valueName } from './value-names.ts';
