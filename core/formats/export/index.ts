// SPDX-License-Identifier: Apache-2.0
// One stage in the words of another program's format. What comes out never permits what the stage does not (but for what a note says), and what it
// answers otherwise is found by reading it back: the report is a comparison of two filters, not a list of what the exporter believes.

import { compileFilter } from '../../compiler/index.ts';
import { RatchetError } from '../../errors.ts';
import { letsThrough } from '../../policy/actions.ts';
import { parseProfile } from '../../policy/parse-profile.ts';
import type { FilterPolicy } from '../../policy/types.ts';
import { describeAction } from '../../simulator/action.ts';
import { auditArch } from '../../simulator/call-data.ts';
import { syscallName } from '../../tables/index.ts';
import { diffPrograms, type FilterDifference, type FilterLike } from '../../verifier/diff.ts';
import { verifyFilter } from '../../verifier/verify.ts';
import { importFirecracker } from '../import/firecracker.ts';
import { importOci } from '../import/oci.ts';
import { type Change, changesBetween } from './changes.ts';
import { exportFirecracker } from './firecracker.ts';
import { exportOci, exportSpo } from './oci.ts';
import { withExec, withoutBroker } from './stage-answers.ts';
import { exportSystemd } from './systemd.ts';

export const exportFormats = ['oci', 'spo', 'firecracker', 'systemd', 'raw'] as const;
export type ExportFormat = (typeof exportFormats)[number];

export interface ExportOptions {
  readonly format: ExportFormat;
  /** Of the profile and stage: names the resource, the thread class or the drop-in. */
  readonly name: string;
  /** For oci and spo: brokered calls are left to whoever listens on this socket. */
  readonly listenerPath?: string | undefined;
  /** For oci and spo: the runtime starts the program under the filter, so execve is permitted. */
  readonly exec?: boolean | undefined;
}

export interface Exported {
  readonly document: string | Uint8Array;
  readonly notes: readonly string[];
  /** Calls that the export answers otherwise than the stage, by what the two answer. */
  readonly changed: readonly Change[];
}

/** Throws ARGUMENT_INVALID for a stage that the format cannot hold, FILTER_UNPROVEN when what was written permits more than the stage. */
export function exportStage(filter: FilterPolicy, options: ExportOptions): Exported {
  if (options.format !== 'raw' && letsThrough(filter.otherwise) && !letsThrough(filter.unknown))
    throw new RatchetError(
      'ARGUMENT_INVALID',
      `${options.format} cannot refuse newer calls under a default that permits, as this stage does`,
      { next: 'export it to raw, or let the stage refuse by default' },
    );
  const { document, meaning, notes, mayPermit } = written(filter, options);
  const differences = diffPrograms(filter, meaning, filter.arch);
  const loose = differences.find((one) => one.looserInSecond && !mayPermit.includes(nameOf(one, filter)));
  if (loose !== undefined)
    throw new RatchetError(
      'FILTER_UNPROVEN',
      `the ${options.format} export answers ${describeAction(loose.second)} to ${nameOf(loose, filter)}, which the stage answers with ${describeAction(loose.first)}`,
      { next: 'this is a bug in ratchet; nothing was written' },
    );
  return { document, notes, changed: changesBetween(filter, meaning, filter.arch) };
}

interface Written {
  readonly document: string | Uint8Array;
  readonly meaning: FilterLike;
  readonly notes: readonly string[];
  /** Calls that the format cannot refuse. */
  readonly mayPermit: readonly string[];
}

function written(asked: FilterPolicy, { format, name, listenerPath, exec = false }: ExportOptions): Written {
  const filter = exec ? withExec(asked) : asked;
  const closed = withoutBroker(filter);
  const reasons = 'reasons, risks and the names of constants are not part of it';
  const readBack = { file: name, arch: filter.arch };
  switch (format) {
    case 'oci':
    case 'spo': {
      const source = listenerPath === undefined ? closed : filter;
      const document = (format === 'oci' ? exportOci : exportSpo)(source, { name, listenerPath });
      const meaning = parsed(importOci(document, readBack).profileText, filter);
      const tail =
        'what calls of other ABIs and newer calls get is decided by the runtime (here: killed, and the default)';
      const started = exec ? ['execve is permitted: the runtime starts the program with it'] : [];
      return { document, meaning, notes: [reasons, tail, ...started], mayPermit: exec ? ['execve'] : [] };
    }
    case 'firecracker': {
      const document = exportFirecracker({ [name]: closed });
      const meaning = parsed(importFirecracker(document, readBack).profileText, filter);
      const one = 'one action for all that matches and one for the rest: every refusal is the default one';
      return { document, meaning, notes: [reasons, one], mayPermit: [] };
    }
    case 'systemd': {
      const { text, meaning, notes } = exportSystemd(closed, name);
      return { document: text, meaning, notes: [reasons, ...notes], mayPermit: ['execve'] };
    }
    case 'raw': {
      const { program } = compileFilter(closed);
      verifyFilter(program, closed);
      return { document: program, meaning: program, notes: [reasons], mayPermit: [] };
    }
  }
}

function parsed(text: string, { arch }: FilterPolicy): FilterPolicy {
  const include = (): never => {
    throw new Error('an exported stage includes nothing');
  };
  const [stage] = parseProfile(text, { file: 'export', arch, include }).stages;
  if (stage === undefined) throw new Error('an exported stage was not read back');
  return stage.filter;
}

function nameOf({ from, call }: FilterDifference, { arch }: FilterPolicy): string {
  return call.auditArch === auditArch[arch] ? (syscallName(arch, from) ?? `number ${from}`) : 'other architectures';
}
