// SPDX-License-Identifier: Apache-2.0
// The tests of a minijail line as a condition of the profile language.

import { ExpressionError } from '../../policy/expression/error.ts';
import type { ConditionContext } from '../../policy/expression/operands.ts';
import { parametersOf } from '../../tables/index.ts';

const atom = /^arg(?<index>\d)\s*(?<op>==|!=|<=|>=|<|>|&|\bin\b)\s*(?<value>.+)$/;

/** `wideTests` counts tests of all 64 bits of a 32-bit argument. Throws ExpressionError. */
export function conditionText(
  text: string,
  context: ConditionContext & { readonly wideTests: { count: number } },
): string {
  const braced = /^\{(.*)\}$/.exec(text.trim())?.[1];
  // In braces, alternatives stand side by side.
  const alternatives = (braced === undefined ? [text] : braced.split(',')).flatMap((part) => part.split('||'));
  return alternatives
    .map(
      (alternative) =>
        `(${alternative
          .split('&&')
          .map((part) => atomText(part.trim(), context))
          .join(' and ')})`,
    )
    .join(' or ');
}

function atomText(text: string, context: ConditionContext & { readonly wideTests: { count: number } }): string {
  const { index, op = '', value = '' } = atom.exec(text)?.groups ?? {};
  if (index === undefined)
    throw new ExpressionError(
      0,
      'expression',
      `"${text}" is no test such as "arg0 == 1", "arg1 & MASK" or "arg2 in MASK"`,
    );
  const parameter = parametersOf(context.arch, context.syscall)[Number(index)];
  const name = parameter?.names[0];
  if (parameter === undefined || name === undefined)
    throw new ExpressionError(0, 'unknown-argument', `${context.syscall} has no arg${index}`);
  if (parameter.width === 'low32') context.wideTests.count++;
  const argument = parameter.width === 'full64' ? name : `u64(${name})`;
  // C writes octal numbers with a leading zero.
  const number = value.replace(/\b0(\d+)\b/g, '0o$1');
  if (op === 'in') return `(${argument} & ~(${number})) == 0`;
  if (op === '&') return `(${argument} & (${number})) != 0`;
  return `${argument} ${op} (${number})`;
}
