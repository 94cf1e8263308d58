// SPDX-License-Identifier: Apache-2.0
import type { Authority } from './authority.ts';
import type { BoundFiles } from './bound-files.ts';
import type { OwnConfinement } from './confine.ts';
import type { Flows } from './flows.ts';
import type { Journal } from './journal.ts';
import type { OneProgram } from './notify/execveat.ts';
import type { Patience } from './patience.ts';
import type { PendingSet } from './pending.ts';
import type { Asker, Reporter } from './reporter.ts';
import type { RunningPrograms } from './running-programs.ts';
import type { RuntimeGrants } from './runtime-grants.ts';
import type { Stages } from './stages.ts';
import type { ThreadRoles } from './thread-roles.ts';

/** What every handler works with. */
export interface Broker {
  /** Whose requests these are; a call of the VMM has an asker of its own. */
  readonly asker: Asker;
  readonly stages: Stages;
  readonly grants: RuntimeGrants;
  readonly authority: Authority;
  readonly own: OwnConfinement;
  readonly reporter: Reporter;
  readonly pending: PendingSet;
  readonly bound: BoundFiles;
  readonly programs: OneProgram;
  readonly patience: Patience;
  readonly journal: Journal;
  readonly threads: ThreadRoles;
  readonly running: RunningPrograms;
  readonly flows: Flows;
}
