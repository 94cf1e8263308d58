// SPDX-License-Identifier: Apache-2.0
// Rows that are no operations of their own: they make threads with a role, and features, do what no row of the matrix does.
import type { Area } from '../../matrix/row.ts';
import { io } from './io.ts';
import { ofFeatures } from './of-features.ts';
import { vcpu } from './vcpu.ts';

export const ownAreas: readonly Area[] = [
  { area: 'vcpu', rows: vcpu },
  { area: 'io', rows: io },
  { area: 'features', rows: ofFeatures },
];
