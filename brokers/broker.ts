// SPDX-License-Identifier: Apache-2.0
import type { BoundFiles } from './bound-files.ts';
import type { OneProgram } from './notify/execveat.ts';
import type { PendingSet } from './pending.ts';
import type { Reporter } from './reporter.ts';
import type { Stages } from './stages.ts';

/** What every handler works with. */
export interface Broker {
  readonly stages: Stages;
  readonly reporter: Reporter;
  readonly pending: PendingSet;
  readonly bound: BoundFiles;
  readonly programs: OneProgram;
}
