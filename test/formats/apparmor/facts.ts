// SPDX-License-Identifier: Apache-2.0
import { exportAppArmor } from '../../../core/formats/apparmor/apparmor.ts';
import { type Grant, parseGrant, parseProfile, readLayers, withGrants } from '../../../core/policy/index.ts';
import type { ResolvedProfile } from '../../../core/policy/types.ts';

/** A program that reads `read` and may make the sockets that `sockets` (a condition) says. */
export function smallProfile({
  read = ['/usr'],
  folders = '',
  sockets = 'domain == AF_UNIX and type == SOCK_STREAM',
  extra = '',
}: {
  readonly read?: readonly string[];
  /** A further line of `files`. */
  readonly folders?: string;
  readonly sockets?: string;
  readonly extra?: string;
} = {}): string {
  return `version: 1
name: small
vmm: program
layers:
  why: what the test says
  environment: []
  namespaces: []
  files:
    read: ${JSON.stringify(read)}${folders}
stages:
  start:
    why: everything at first
    default: errno EPERM
    unknown: errno ENOSYS quiet
    foreign: kill-process
    syscalls:
      - allow: [read, write, mmap]
        why: data and code
      - allow: [socket]
        when: ${sockets}
        why: its sockets
      - broker: [openat]
        why: files are judged by the broker
${extra}
  running:
    why: less later
    from: start
    remove: [mmap]
`;
}

export interface SmallExport {
  readonly text?: string;
  readonly allow?: readonly string[];
  readonly stage?: string;
  readonly program?: string;
}

export function exportSmall({
  text = smallProfile(),
  allow = [],
  stage = 'start',
  program,
}: SmallExport): ReturnType<typeof exportAppArmor> {
  const grants: readonly Grant[] = allow.map((each) => parseGrant(each, '--allow'));
  const include = (): never => {
    throw new Error('it includes nothing');
  };
  const parsed = parseProfile(text, { file: 'small.yaml', arch: 'x86_64', include });
  const profile: ResolvedProfile = withGrants(parsed, grants);
  const chosen = profile.stages.find(({ name }) => name === stage);
  if (chosen === undefined) throw new Error(`no stage ${stage}`);
  return exportAppArmor({
    profile,
    stage: chosen,
    layers: readLayers(text, 'small.yaml'),
    program,
    name: 'ratchet-small',
  });
}
