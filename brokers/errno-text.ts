// SPDX-License-Identifier: Apache-2.0
import { errnoName } from '../core/tables/index.ts';

export function errnoText(errno: number): string {
  return errnoName(errno) ?? `errno ${errno}`;
}
