// SPDX-License-Identifier: Apache-2.0
import { parametersOf, valueName } from '../../tables/index.ts';
import type { Condition, Width } from '../types.ts';
import type { ConditionContext } from './operands.ts';
import { allOnes, signBit } from './words.ts';

const widthWords: Readonly<Record<Width, string>> = { low32: 'u32', zero32: 'u32z', sign32: 's32', full64: 'u64' };

/**
 * A condition as text in the profile language. With a context the text can be parsed again to the same meaning, and values are named where the
 * argument's values have names; without one, arguments are called arg0 to arg5, every width is written, and values are numbers.
 */
export function formatCondition(condition: Condition, context?: ConditionContext): string {
  return formatNested(condition, context, 'or');
}

/** `inside`: the loosest operator that may stand here without parentheses. */
function formatNested(
  condition: Condition,
  context: ConditionContext | undefined,
  inside: 'or' | 'and' | 'not',
): string {
  switch (condition.kind) {
    case 'always':
    case 'never':
      return condition.kind;
    case 'not':
      return `not ${formatNested(condition.term, context, 'not')}`;
    case 'and':
    case 'or': {
      const inner = condition.kind === 'or' ? 'and' : 'not';
      const text = condition.terms.map((term) => formatNested(term, context, inner)).join(` ${condition.kind} `);
      const fits = inside === 'or' || (inside === 'and' && condition.kind === 'and');
      return fits ? text : `(${text})`;
    }
    case 'in': {
      const values = condition.values.map((value) => valueText(value, condition, context));
      return `${argumentText(condition, context)} in [${values.join(', ')}]`;
    }
    case 'compare':
      return compareText(condition, context);
  }
}

type Compare = Extract<Condition, { kind: 'compare' }>;

function compareText(condition: Compare, context: ConditionContext | undefined): string {
  const { width, mask, op, value, signed } = condition;
  const name = argumentText(condition, context);
  if (signed) return `signed(${name}) ${op} ${BigInt.asIntN(width === 'full64' ? 64 : 32, value)}`;
  const text = (bits: bigint): string => valueText(bits, condition, context);
  if (mask === allOnes(width)) {
    const ordered = op !== '==' && op !== '!=';
    return `${name} ${op} ${ordered ? number(value) : text(value)}`;
  }
  if (op === '==' && value === 0n) {
    // A mask with the top bit forbids bits by leaving some out, one without it by naming them.
    const others = allOnes(width) & ~mask;
    return (mask & signBit(width)) !== 0n ? `${name} only ${text(others)}` : `${name} lacks ${text(mask)}`;
  }
  if (op === '==' && value === mask) return `${name} has ${text(mask)}`;
  return `(${name} & ${maskText(condition, context)}) ${op} ${text(value)}`;
}

/** A mask that leaves out named bits is written by those. */
function maskText({ arg, width, mask }: Compare, context: ConditionContext | undefined): string {
  const others = context && valueName(context.arch, context.syscall, arg, allOnes(width) & ~mask);
  if (others === undefined) return valueText(mask, { arg }, context);
  return others.includes('|') ? `~(${others})` : `~${others}`;
}

function argumentText({ arg, width }: { arg: number; width: Width }, context: ConditionContext | undefined): string {
  const parameter = context && parametersOf(context.arch, context.syscall)[arg];
  const name = parameter?.names[0] ?? `arg${arg}`;
  return parameter?.width === width ? name : `${widthWords[width]}(${name})`;
}

function valueText(value: bigint, { arg }: { arg: number }, context: ConditionContext | undefined): string {
  return (context && valueName(context.arch, context.syscall, arg, value)) ?? number(value);
}

function number(value: bigint): string {
  return value < 10n ? String(value) : `0x${value.toString(16)}`;
}
