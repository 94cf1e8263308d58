// SPDX-License-Identifier: Apache-2.0
import { type CgroupLimits, looser, readCgroup, tighter } from './cgroup-limits.ts';
import { type Path, type ProfileDocument, readDocument } from './document.ts';
import type { Mac, RawCgroup, RawLayers, RawStageLayers } from './layers-schema.ts';
import { ProblemList } from './problem.ts';
import { profileSchema, type RawProfile } from './schema.ts';
import { checkSchema } from './schema-problems.ts';

export type { Mac, RawCgroup };

/** How much of its root a program still has, most first: as it was made, what `open` grants, nothing. */
const stageRoots = ['whole', 'granted', 'empty'] as const;
export type StageRoot = (typeof stageRoots)[number];

/** What a stage takes from the program besides calls, with all that earlier stages took. */
export interface StageLayers {
  readonly root: StageRoot;
  /** Undefined: those of the profile's `layers`. */
  readonly files: StageFiles | undefined;
  readonly rlimits: Readonly<Record<string, number>>;
  readonly cgroup: CgroupLimits;
}

/** Paths beneath which a program may read, and those beneath which it may write too. */
export interface FileLists {
  readonly read: readonly string[];
  readonly write?: readonly string[] | undefined;
  /** In folders that `open` grants for writing it may make, rename, link and remove files too. */
  readonly folders?: 'whole' | undefined;
}

/** The files that a stage leaves. */
export interface StageFiles extends FileLists {
  /** Of the stage that said so. */
  readonly epoch: number;
}

/** What confines a program besides its filters, as its profile has it. */
export interface Layers extends RawLayers {
  /** By stage, in order; the first has what the profile's `layers` say. */
  readonly stages: readonly StageLayers[];
}

/** The key `layers` of a profile's text; undefined when it has none. @throws PROFILE_INVALID, also when a later stage is looser. */
export function readLayers(text: string, file: string): Layers | undefined {
  const problems = new ProblemList();
  const document = readDocument(text, file, problems);
  const raw = document && checkSchema(document, profileSchema, problems);
  problems.throwIfAny();
  if (document === undefined || raw === undefined) return undefined;
  const stages = readStageLayers(raw, document, problems);
  problems.throwIfAny();
  return raw.layers === undefined ? undefined : { ...raw.layers, stages };
}

/** What each stage has, in order. */
export function readStageLayers(
  raw: RawProfile,
  document: ProfileDocument,
  problems: ProblemList,
): readonly StageLayers[] {
  let last: StageLayers = {
    root: 'whole',
    files: undefined,
    rlimits: raw.layers?.rlimits ?? {},
    cgroup: readCgroup(raw.layers?.cgroup ?? {}),
  };
  if (raw.layers?.root === 'minimal' && !raw.layers.namespaces.includes('mount'))
    problems.add(document.at(['layers', 'root']), 'contradiction', 'a root of its own takes a `mount` namespace');
  return Object.entries(raw.stages).map(([name, { layers }], index) => {
    if (layers === undefined) return last;
    const path = ['stages', name, 'layers'];
    const wrong = (at: Path, message: string): void => problems.add(document.at(at), 'contradiction', message);
    if (index === 0) wrong(path, "the first stage has the profile's own `layers`");
    else if (raw.layers === undefined) wrong(path, 'the profile has no `layers` that a stage could tighten');
    else checkStage(raw.layers, layers, last, (key, message) => wrong([...path, key], message));
    last = {
      root: layers.root ?? last.root,
      files: layers.files === undefined ? last.files : { ...layers.files, epoch: index },
      rlimits: { ...last.rlimits, ...layers.rlimits },
      cgroup: tighter(last.cgroup, readCgroup(layers.cgroup ?? {})),
    };
    return last;
  });
}

/** Later is never looser. */
function checkStage(
  ofProfile: RawLayers,
  layers: RawStageLayers,
  last: StageLayers,
  wrong: (key: string, message: string) => void,
): void {
  if (layers.root !== undefined && (ofProfile.root !== 'minimal' || !ofProfile.namespaces.includes('mount')))
    wrong('root', 'only a root that is `minimal`, in a `mount` namespace, can be emptied');
  if (layers.root !== undefined && stageRoots.indexOf(layers.root) < stageRoots.indexOf(last.root))
    wrong('root', `a later stage is never looser: ${layers.root}, and it was ${last.root}`);
  for (const [name, limit] of Object.entries(layers.rlimits ?? {})) {
    const before = last.rlimits[name];
    if (before !== undefined && limit > before)
      wrong('rlimits', `a later stage is never looser: ${name} ${limit}, and it was ${before}`);
  }
  if (layers.files !== undefined) checkFiles(layers.files, last.files ?? ofProfile.files, wrong);
  if (layers.cgroup === undefined) return;
  if (ofProfile.cgroup === undefined) wrong('cgroup', "the profile's `layers` have no `cgroup`: write `cgroup: {}`");
  const larger = looser(last.cgroup, readCgroup(layers.cgroup));
  if (larger !== undefined) wrong('cgroup', `a later stage is never looser: ${larger}`);
}

function checkFiles(
  { read, write = [], folders }: FileLists,
  before: FileLists,
  wrong: (key: string, message: string) => void,
): void {
  const odd = [...read, ...write].find((path) => !isPlain(path));
  if (odd !== undefined) wrong('files', `${odd} is no absolute path without . and ..`);
  if (folders !== undefined && before.folders === undefined)
    wrong('files', 'a later stage is never looser: folders were not whole before');
  const written = before.write ?? [];
  const looser = (paths: readonly string[], among: readonly string[]): string | undefined =>
    paths.find((path) => isPlain(path) && !among.some((root) => contains(root, path)));
  const more = looser(read, [...before.read, ...written]);
  if (more !== undefined) wrong('files', `a later stage is never looser: ${more} could not be read before`);
  const writable = looser(write, written);
  if (writable !== undefined) wrong('files', `a later stage is never looser: ${writable} could not be written before`);
}

function isPlain(path: string): boolean {
  return path.startsWith('/') && !path.split('/').some((part) => part === '.' || part === '..');
}

/** By their text: a link that leads into a folder is not within it. */
function contains(root: string, path: string): boolean {
  const folder = root.replace(/\/+$/, '');
  return path === folder || path.startsWith(`${folder}/`);
}
