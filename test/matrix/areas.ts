// SPDX-License-Identifier: Apache-2.0
import type { Area } from './row.ts';
import { migration } from './rows/migration.ts';
import { migrationTls } from './rows/migration-tls.ts';
import { postcopy } from './rows/postcopy.ts';

/** The matrix, in the order of its document. */
export const areas: readonly Area[] = [{ area: 'migration', rows: [...migration, ...migrationTls, ...postcopy] }];
