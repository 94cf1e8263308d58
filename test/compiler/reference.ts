// SPDX-License-Identifier: Apache-2.0
// What a policy says on one call, straight from the text of core/policy/types.ts: the judge that shares no code with what it judges.

import type { Action, Condition, FilterPolicy, SyscallCall } from '../../core/policy/types.ts';

const archNumbers = { x86_64: 0xc000003e, aarch64: 0xc00000b7, riscv64: 0xc00000f3 } as const;

export function decide(policy: FilterPolicy, call: SyscallCall): Action {
  if (call.auditArch !== archNumbers[policy.arch]) return policy.foreign;
  if (policy.arch === 'x86_64' && Math.floor(call.nr / 2 ** 30) % 2 === 1) return policy.foreign;
  if (call.nr > policy.lastKnownNr) return policy.unknown;
  const syscall = policy.syscalls.find((candidate) => candidate.nr === call.nr);
  if (syscall === undefined) return policy.otherwise;
  return syscall.rules.find((rule) => holds(rule.when, call.args))?.action ?? syscall.otherwise;
}

export function holds(condition: Condition, args: readonly bigint[]): boolean {
  switch (condition.kind) {
    case 'always':
      return true;
    case 'never':
      return false;
    case 'and':
      return condition.terms.every((term) => holds(term, args));
    case 'or':
      return condition.terms.some((term) => holds(term, args));
    case 'not':
      return !holds(condition.term, args);
    case 'in': {
      const read = readArgument(args[condition.arg] as bigint, condition.width);
      return read !== undefined && condition.values.includes(read);
    }
    case 'compare': {
      const read = readArgument(args[condition.arg] as bigint, condition.width);
      if (read === undefined) return false;
      const bits = condition.width === 'full64' ? 64 : 32;
      const left = condition.signed ? BigInt.asIntN(bits, read) : read & condition.mask;
      const right = condition.signed ? BigInt.asIntN(bits, condition.value) : condition.value;
      switch (condition.op) {
        case '==':
          return left === right;
        case '!=':
          return left !== right;
        case '<':
          return left < right;
        case '<=':
          return left <= right;
        case '>':
          return left > right;
        case '>=':
          return left >= right;
      }
    }
  }
}

/** undefined: the high word is not what the width demands. */
function readArgument(value: bigint, width: 'low32' | 'zero32' | 'sign32' | 'full64'): bigint | undefined {
  const low = value % 2n ** 32n;
  const high = value / 2n ** 32n;
  switch (width) {
    case 'low32':
      return low;
    case 'zero32':
      return high === 0n ? low : undefined;
    case 'sign32':
      return high === (low >= 2n ** 31n ? 2n ** 32n - 1n : 0n) ? low : undefined;
    case 'full64':
      return value;
  }
}
