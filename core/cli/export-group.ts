// SPDX-License-Identifier: Apache-2.0
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { RatchetError } from '../errors.ts';
import { readGroup } from '../group/read-group.ts';
import type { MemberSpec } from '../group/spec.ts';
import type { Arch } from '../policy/types.ts';
import { defaultProfile } from '../vmm/adapters.ts';
import { loadAnyProfile } from './any-profile.ts';
import { type AnyExportFormat, type ExportedDocument, exportDocument, extensions } from './export-document.ts';
import { writeOutput } from './write-output.ts';

export interface GroupExport {
  readonly format: AnyExportFormat;
  readonly file: string;
  readonly variables: Readonly<Record<string, string>>;
  readonly arch: Arch;
  /** Undefined: every stage. */
  readonly stage: string | undefined;
  readonly exec: boolean;
  readonly folder: string;
}

export interface WrittenDocument extends ExportedDocument {
  readonly member: string;
  readonly file: string;
}

/** A file for each member and stage, in a folder that is made; one for each member in formats that know no stages. */
export function exportGroup({
  format,
  file,
  variables,
  arch,
  stage,
  exec,
  folder,
}: GroupExport): readonly WrittenDocument[] {
  const group = readGroup(file, { variables });
  const documents = group.members.flatMap((member) => {
    const profile = member.profile ?? defaultProfile(member.command[0]);
    return stagesOf(member, profile, { format, arch, stage }).map((each): WrittenDocument => {
      const exported = exportDocument({
        format,
        profile,
        arch,
        features: member.features,
        stage: each,
        exec,
        allow: member.allow,
        mayGrant: member.mayGrant,
        program: member.command[0].startsWith('/') ? member.command[0] : undefined,
        named: `${group.name}-${member.name}`,
      });
      const name = format === 'apparmor' ? member.name : `${member.name}-${exported.stage}`;
      return { ...exported, member: member.name, file: join(folder, `${name}.${extensions[format]}`) };
    });
  });
  makeFolder(folder);
  for (const each of documents) writeOutput(each.file, each.document);
  return documents;
}

/** Undefined stands for the first one. */
function stagesOf(
  { features }: MemberSpec,
  profile: string,
  { format, arch, stage }: Pick<GroupExport, 'format' | 'arch' | 'stage'>,
): readonly (string | undefined)[] {
  if (stage !== undefined || format === 'apparmor') return [stage];
  return loadAnyProfile(profile, { arch, features }).stages.map(({ name }) => name);
}

function makeFolder(folder: string): void {
  try {
    mkdirSync(folder, { recursive: true });
  } catch (cause) {
    throw new RatchetError('ARGUMENT_INVALID', `the folder ${folder} cannot be made`, {
      errno: (cause as NodeJS.ErrnoException).code ?? 'EIO',
      next: 'give another with --output',
      cause,
    });
  }
}
