// SPDX-License-Identifier: Apache-2.0
import type { ProblemCode } from '../problem.ts';

/** A fault in the text of a condition. `offset` counts characters from 0. */
export class ExpressionError extends Error {
  override readonly name = 'ExpressionError';
  readonly offset: number;
  readonly code: ProblemCode;

  constructor(offset: number, code: ProblemCode, message: string) {
    super(message);
    this.offset = offset;
    this.code = code;
  }
}
