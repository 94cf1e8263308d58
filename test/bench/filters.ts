// SPDX-License-Identifier: Apache-2.0
// Suite `filters`: what ratchet's programs cost beside libseccomp's, and what it costs to make them. Instruction counts are exact: the recorded
// calls run through the simulator. Times are medians of runs that took turns.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type CallCounts, compileFilter, compileProfile, expectedInstructions } from '../../core/compiler/index.ts';
import type { FilterPolicy, ResolvedProfile } from '../../core/policy/types.ts';
import { countsOption } from '../../core/profile-counts.ts';
import { loadProfile } from '../../core/profile-files.ts';
import { Diagrams } from '../../core/verifier/diagram.ts';
import { diffPrograms, findCounterExample, verifyFilter } from '../../core/verifier/index.ts';
import { policyDiagram } from '../../core/verifier/policy-diagram.ts';
import { packagePath } from '../../native/package-path.ts';
import { leastInstructions } from './bound/least-instructions.ts';
import { benchChain } from './chain.ts';
import { type CommandTimes, commandTimes } from './command-times.ts';
import { type Expressible, expressiblePart } from './expressible.ts';
import { atMost, exact, type Figure, measured, quantile } from './figure.ts';
import { attachTimes, libseccompProgram } from './peer.ts';
import { type Recording, recordings } from './recordings.ts';
import { uncachedBy } from './uncached.ts';

const arch = 'x86_64';
const x32Bit = 0x40000000;

export async function benchFilters(): Promise<readonly Figure[]> {
  const profile = loadProfile('qemu', { arch });
  const recorded = recordings();
  return [
    ...filtersOf(profile).flatMap((named) => sideBySide(named, recorded)),
    ...benchChain(profile, recorded),
    ...attaching(profile),
    ...compiling(),
  ];
}

interface NamedFilter {
  readonly name: string;
  readonly filter: FilterPolicy;
  readonly stage: string;
  /** Undefined: all threads. */
  readonly role?: string;
}

function filtersOf(profile: ResolvedProfile): readonly NamedFilter[] {
  return profile.stages.flatMap((stage) => [
    { name: stage.name, stage: stage.name, filter: stage.filter },
    ...Object.entries(stage.roles).map(([role, filter]) => ({
      name: `${stage.name}/${role}`,
      stage: stage.name,
      filter,
      role,
    })),
  ]);
}

function sideBySide({ name, stage, filter, role }: NamedFilter, recorded: readonly Recording[]): readonly Figure[] {
  const part = expressiblePart(filter);
  process.stdout.write(
    `${name}: held against libseccomp without ${part.leftOut.length} calls of ${filter.syscalls.length} (${part.leftOut.join(', ')}), ${part.rules.length} rules\n`,
  );
  const tree = libseccompProgram(part, { kind: 'tree' });
  assertSame(tree, part);
  return recorded.flatMap(({ name: recording, counts: ofAll, stageCounts, roleCounts }) => {
    const counts = role === undefined ? (stageCounts[stage] ?? ofAll) : roleCounts[role];
    // Nothing was recorded of such threads there.
    if (counts === undefined) return [];
    const ours = compileFilter(part.policy, { counts });
    verifyFilter(ours.program, part.policy);
    const uncached = uncachedBy([ours.program], arch);
    const linear = libseccompProgram(part, { kind: 'linear', counts });
    assertSame(linear, part);
    const cost = (program: Uint8Array, numbers = uncached): number =>
      expectedInstructions(program, arch, counts, (nr) => numbers.has(nr));
    const [mine, list, balanced] = [cost(ours.program), cost(linear), cost(tree)];
    const whole = compileFilter(filter, { counts });
    const wholeUncached = uncachedBy([whole.program], arch);
    const bound = least(filter, counts, wholeUncached);
    const unit = 'instructions/call';
    return [
      exact(`${name} ${recording}`, unit, mine, {
        against: { name: 'libseccomp, priorities', value: list },
        goal: atMost(0.65, mine / list),
      }),
      exact(`${name} ${recording}`, unit, mine, {
        against: { name: 'libseccomp, tree', value: balanced },
        goal: atMost(0.5, mine / balanced),
      }),
      exact(`${name} ${recording}, the whole policy`, unit, cost(whole.program, wholeUncached), {
        against: { name: 'least of any tree', value: bound },
        goal: atMost(1.02, cost(whole.program, wholeUncached) / bound),
      }),
    ];
  });
}

/** No program of comparisons can do with less. */
function least(filter: FilterPolicy, counts: CallCounts, uncached: ReadonlySet<number>): number {
  const diagrams = new Diagrams();
  const goal = policyDiagram(diagrams, filter);
  return leastInstructions({ diagrams, arch, goal, installed: undefined }, counts, uncached);
}

/** Both decide alike on every call, by proof. libseccomp lets number -1 pass its x32 test, which no policy can say: that one is set aside. */
function assertSame(program: Uint8Array, { policy }: Expressible): void {
  const different = diffPrograms(program, policy, arch).filter(({ from }) => from < x32Bit);
  const [first] = different;
  if (first !== undefined)
    throw new Error(
      `libseccomp decides otherwise on ${first.from}: ${JSON.stringify(first, (_, value) => (typeof value === 'bigint' ? `${value}` : value))}`,
    );
}

function attaching(profile: ResolvedProfile): readonly Figure[] {
  const folder = mkdtempSync(join(tmpdir(), 'ratchet-attach-'));
  const { counts } = countsOption(profile);
  try {
    return profile.stages.slice(0, 2).map((stage) => {
      const part = expressiblePart(stage.filter);
      const write = (name: string, program: Uint8Array): string => {
        const file = join(folder, `${stage.name}-${name}`);
        writeFileSync(file, program);
        return file;
      };
      const ours = compileFilter(part.policy, counts === undefined ? {} : { counts });
      const files = [write('ours', ours.program), write('tree', libseccompProgram(part, { kind: 'tree' }))];
      const [mine = [], tree = []] = attachTimes(files, 2000).map((row) =>
        row.map((nanoseconds) => nanoseconds / 1000),
      );
      return measured(`attach ${stage.name}`, 'us', mine, {
        against: { name: 'libseccomp, tree', samples: tree },
        goal: atMost(1, quantile(mine, 0.5) / quantile(tree, 0.5)),
      });
    });
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function compiling(): readonly Figure[] {
  const many = ioctlPolicy(2500);
  const { program } = compileFilter(many);
  if (findCounterExample(program, many) !== undefined) throw new Error('the program is not the policy');
  const large = timed(7, () => compileFilter(many));
  const proof = timed(7, () => findCounterExample(program, many));
  const whole = timed(41, () => {
    const profile = loadProfile('qemu', { arch });
    return compileProfile(profile, countsOption(profile));
  }).slice(10);
  const command = [packagePath('dist/core/cli/main.js'), 'check', packagePath('profiles/qemu.yaml')];
  const [check, nothing] = commandTimes(20, [command, ['-e', '']]) as [CommandTimes, CommandTimes];
  return [
    measured('compile 2500 ioctl values', 'ms', large, { goal: atMost(1000, quantile(large, 0.5), 'ms') }),
    measured('prove 2500 ioctl values', 'ms', proof),
    measured('qemu.yaml to proven programs, in process', 'ms', whole, {
      goal: atMost(150, quantile(whole, 0.5), 'ms'),
    }),
    measured('ratchet check profiles/qemu.yaml', 'ms', check.elapsed, {
      against: { name: 'node alone', samples: nothing.elapsed },
      goal: atMost(500, quantile(check.elapsed, 0.5), 'ms'),
    }),
    measured('ratchet check profiles/qemu.yaml, processor', 'ms', check.processor, {
      against: { name: 'node alone', samples: nothing.processor },
      goal: atMost(500, quantile(check.processor, 0.5), 'ms'),
    }),
  ];
}

/** One call with scattered request numbers. */
function ioctlPolicy(count: number): FilterPolicy {
  const values = Array.from({ length: count }, (_, index) => BigInt(Math.imul(index + 1, 0x9e3779b1) >>> 0));
  const source = { file: 'bench', line: 1, column: 1 };
  const rule = {
    action: { kind: 'allow' },
    when: { kind: 'in', arg: 1, width: 'low32', values },
    whenText: '',
    why: '',
    risk: undefined,
    source,
  } as const;
  const refuse = { kind: 'errno', errno: 1, quiet: true } as const;
  return {
    arch,
    syscalls: [{ nr: 16, name: 'ioctl', rules: [rule], otherwise: refuse }],
    otherwise: refuse,
    unknown: { kind: 'errno', errno: 38, quiet: true },
    lastKnownNr: 466,
    foreign: { kind: 'kill-process' },
  };
}

/** Milliseconds of each run. */
function timed(runs: number, run: () => unknown): number[] {
  return Array.from({ length: runs }, () => {
    const before = performance.now();
    run();
    return performance.now() - before;
  });
}
