// SPDX-License-Identifier: Apache-2.0
// Which programs a thread should have, and in which order. A thread has those of all stages so far, and one with a role also all that its
// role has so far, each somewhere after its stage's: a thread that was there at each stage change has them in turn, one that was made
// later has its maker's first and its role's on top.

/** A program that is, or should be, installed. */
export interface InstalledProgram {
  readonly stage: string;
  /** The role that it is for; absent for that of all threads. */
  readonly role?: string;
  /** It allows everything, and is there to be counted. */
  readonly mark?: true;
  readonly program: Uint8Array;
}

/** The programs of one stage, as the compiler gives them. */
export interface StagePrograms {
  readonly name: string;
  readonly program: Uint8Array;
  readonly roles: Readonly<Record<string, { readonly program: Uint8Array; readonly marks: number }>>;
}

/** BPF_RET | BPF_K, SECCOMP_RET_ALLOW. */
const mark = { mark: true, program: Uint8Array.of(6, 0, 0, 0, 0, 0, 0xff, 0x7f) } as const;

export function stageChain(stages: readonly StagePrograms[]): InstalledProgram[] {
  return stages.map(({ name, program }) => ({ stage: name, program }));
}

/** What threads of a role have beside the stages' programs, oldest first. */
export function roleChain(stages: readonly StagePrograms[], role: string): InstalledProgram[] {
  return stages.flatMap(({ name, roles }) => {
    const own = roles[role];
    if (own === undefined) return [];
    const marks = Array.from({ length: own.marks }, (): InstalledProgram => ({ ...mark, stage: name, role }));
    return [...marks, { stage: name, role, program: own.program }];
  });
}

export function rolesIn(stages: readonly StagePrograms[]): ReadonlySet<string> {
  return new Set(stages.flatMap(({ roles }) => Object.keys(roles)));
}

/**
 * What the installed programs are, oldest first; undefined when they are not what a thread of that role should have. A thread without a role may have
 * been made by one with a role, and then has what that one had.
 */
export function explainChain(
  installed: readonly Uint8Array[],
  stages: readonly StagePrograms[],
  role: string | undefined,
): readonly InstalledProgram[] | undefined {
  const own = stageChain(stages);
  if (role !== undefined) return interleaving(installed, own, roleChain(stages, role));
  const extra = installed.length - own.length;
  if (extra === 0) return interleaving(installed, own, []);
  for (const inherited of rolesIn(stages))
    for (let entered = 1; entered <= stages.length; entered++) {
      // Marks and program of a role come together: a mark alone may be anybody's.
      const ofRole = roleChain(stages.slice(0, entered), inherited);
      const found = ofRole.length === extra ? interleaving(installed, own, ofRole) : undefined;
      if (found !== undefined) return found;
    }
  return undefined;
}

/** Two programs may be the same bytes, so what fits first need not be what leads to the end: both ways are tried. */
function interleaving(
  installed: readonly Uint8Array[],
  own: readonly InstalledProgram[],
  ofRole: readonly InstalledProgram[],
): readonly InstalledProgram[] | undefined {
  if (installed.length !== own.length + ofRole.length) return undefined;
  const deadEnds = new Set<number>();
  const walk = (stagesSeen: number, rolesSeen: number): InstalledProgram[] | undefined => {
    const at = stagesSeen + rolesSeen;
    const found = installed[at];
    if (found === undefined) return [];
    const key = stagesSeen * (ofRole.length + 1) + rolesSeen;
    if (deadEnds.has(key)) return undefined;
    const role = ofRole[rolesSeen];
    const afterItsStage = role !== undefined && own.slice(0, stagesSeen).some(({ stage }) => stage === role.stage);
    const stage = own[stagesSeen];
    if (afterItsStage && same(found, role.program)) {
      const rest = walk(stagesSeen, rolesSeen + 1);
      if (rest !== undefined) return [role, ...rest];
    }
    if (stage !== undefined && same(found, stage.program)) {
      const rest = walk(stagesSeen + 1, rolesSeen);
      if (rest !== undefined) return [stage, ...rest];
    }
    deadEnds.add(key);
    return undefined;
  };
  return walk(0, 0);
}

function same(one: Uint8Array, other: Uint8Array): boolean {
  return Buffer.compare(one, other) === 0;
}
