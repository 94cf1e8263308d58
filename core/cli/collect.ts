// SPDX-License-Identifier: Apache-2.0

/** For options that may be given several times. */
export function collect(value: string, earlier: readonly string[]): readonly string[] {
  return [...earlier, value];
}
