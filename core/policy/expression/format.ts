// SPDX-License-Identifier: Apache-2.0
import { parametersOf } from '../../tables/index.ts';
import type { Condition, Width } from '../types.ts';
import type { ConditionContext } from './parse.ts';
import { allOnes } from './words.ts';

const widthWords: Readonly<Record<Width, string>> = { low32: 'u32', zero32: 'u32z', sign32: 's32', full64: 'u64' };

/**
 * A condition as text in the profile language, with numbers for values. With a context the text can be parsed again to the same meaning;
 * without one, arguments are called arg0 to arg5 and every width is written.
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
    case 'in':
      return `${argumentText(condition, context)} in [${condition.values.map((value) => number(value)).join(', ')}]`;
    case 'compare': {
      const name = argumentText(condition, context);
      const masked = condition.mask === allOnes(condition.width) ? name : `(${name} & ${number(condition.mask)})`;
      const bits = condition.width === 'full64' ? 64 : 32;
      const value = condition.signed ? String(BigInt.asIntN(bits, condition.value)) : number(condition.value);
      return `${condition.signed ? `signed(${name})` : masked} ${condition.op} ${value}`;
    }
  }
}

function argumentText({ arg, width }: { arg: number; width: Width }, context: ConditionContext | undefined): string {
  const parameter = context && parametersOf(context.arch, context.syscall)[arg];
  const name = parameter?.names[0] ?? `arg${arg}`;
  return parameter?.width === width ? name : `${widthWords[width]}(${name})`;
}

function number(value: bigint): string {
  return value < 10n ? String(value) : `0x${value.toString(16)}`;
}
