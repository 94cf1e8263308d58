// SPDX-License-Identifier: Apache-2.0
// What one export makes, for a stage of a profile or for a member of a group.
import { appArmorName, exportAppArmor } from '../formats/apparmor/apparmor.ts';
import {
  type Exported,
  type ExportFormat,
  exportStage,
  exportFormats as filterFormats,
} from '../formats/export/index.ts';
import { type Grant, withGrants } from '../policy/index.ts';
import type { Arch } from '../policy/types.ts';
import { loadLayers } from '../profile-files.ts';
import { loadAnyProfile } from './any-profile.ts';
import { chosenFilter, chosenStage } from './stage-filter.ts';

export const exportFormats = [...filterFormats, 'apparmor'] as const;
export type AnyExportFormat = (typeof exportFormats)[number];

export interface ExportRequest {
  readonly format: AnyExportFormat;
  /** A profile's name or file. */
  readonly profile: string;
  readonly arch: Arch;
  readonly features: readonly string[];
  readonly stage?: string | undefined;
  readonly role?: string | undefined;
  readonly listener?: string | undefined;
  readonly exec?: boolean | undefined;
  readonly allow: readonly Grant[];
  readonly mayGrant: readonly Grant[];
  readonly program?: string | undefined;
  /** In place of the profile's name in the names that the document has. */
  readonly named?: string | undefined;
}

export interface ExportedDocument extends Exported {
  /** For people: what this is of. */
  readonly of: string;
  readonly stage: string;
}

/** @throws RatchetError. */
export function exportDocument(request: ExportRequest): ExportedDocument {
  const { format, arch, features, role } = request;
  const profile = withGrants(loadAnyProfile(request.profile, { arch, features }), request.allow, request.mayGrant);
  const named = request.named ?? profile.name;
  if (format === 'apparmor') {
    const stage = chosenStage(profile, request.stage ?? profile.stages[0]?.name);
    const layers = loadLayers(request.profile);
    const name = appArmorName(named);
    const exported = exportAppArmor({ profile, stage, layers, program: request.program, name });
    return { ...exported, changed: [], of: `${named} from ${stage.name} on`, stage: stage.name };
  }
  const stage = chosenStage(profile, request.stage);
  const exported = exportStage(chosenFilter(stage, role), {
    format,
    name: format === 'firecracker' ? (role ?? 'vmm') : `${named}-${stage.name}`,
    listenerPath: request.listener,
    exec: request.exec,
  });
  return { ...exported, of: `${named}:${stage.name}`, stage: stage.name };
}

/** What a file of each format is usually called. */
export const extensions: Readonly<Record<AnyExportFormat, string>> = {
  oci: 'json',
  spo: 'yaml',
  firecracker: 'firecracker.json',
  systemd: 'conf',
  raw: 'bpf',
  apparmor: 'apparmor',
} satisfies Record<ExportFormat | 'apparmor', string>;
