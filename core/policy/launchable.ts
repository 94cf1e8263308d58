// SPDX-License-Identifier: Apache-2.0
// A profile can be well formed and still forbid what launching under it takes: the stager runs under the first stage's filter for a moment, and each later one
// is installed by calls that the program is made to make. Told before anything is started, with the rule to add.
import { RatchetError } from '../errors.ts';
import { constantValue } from '../tables/index.ts';
import { decide } from './evaluate.ts';
import type { FilterPolicy, ResolvedProfile } from './types.ts';
import { assertTold } from './untold.ts';

interface Need {
  readonly call: string;
  readonly args: readonly bigint[];
  readonly why: string;
}

const somewhere = 0x7f00_0000_0000n;
const named = (name: string): bigint => constantValue('x86_64', name) ?? 0n;

const stagerNeeds: readonly Need[] = [
  { call: 'sendmsg', args: [3n, somewhere, named('MSG_NOSIGNAL')], why: 'the stager hands its listener over' },
  { call: 'close', args: [3n], why: 'the stager closes its copy of the listener' },
  {
    call: 'execveat',
    args: [16383n, somewhere, somewhere, somewhere, named('AT_EMPTY_PATH')],
    why: 'the stager becomes the program',
  },
  { call: 'exit_group', args: [], why: 'a stager that fails ends' },
];

const installationNeeds: readonly Need[] = [
  {
    call: 'mmap',
    args: [
      0n,
      65536n,
      named('PROT_READ') | named('PROT_WRITE'),
      named('MAP_PRIVATE') | named('MAP_ANONYMOUS'),
      0xffff_ffffn,
      0n,
    ],
    why: "the next stage's program is put into memory of the process",
  },
  {
    call: 'seccomp',
    args: [named('SECCOMP_SET_MODE_FILTER'), named('SECCOMP_FILTER_FLAG_TSYNC'), somewhere],
    why: 'the next stage is installed by the process itself',
  },
];

/** What the injection maps, by the name of the call: refused aloud by the next stage, it would be the broker's to answer, who is in that stage by then. */
const scratch = installationNeeds[0] as Need;

const munmap: Need = {
  call: 'munmap',
  args: [somewhere, 65536n],
  why: "the memory of the stage's program is given back",
};

/** @throws RatchetError PROFILE_INVALID when a program cannot be started and tightened under this profile, or a role refuses what nobody would be told of. */
export function assertLaunchable(profile: ResolvedProfile): void {
  const { name, stages } = profile;
  assertTold(profile);
  for (const { call } of stagerNeeds.filter(({ call }) => call !== 'execveat')) {
    const brokered = stages.find((stage) => isBrokered(stage.filter, call));
    if (brokered === undefined) continue;
    throw new RatchetError(
      'PROFILE_INVALID',
      `profile ${name}: stage ${brokered.name} leaves ${call} to the broker, and the stager makes it before there is one`,
      {
        next: 'allow it, with conditions on its arguments',
      },
    );
  }
  stages.forEach((stage, index) => {
    const answer = decide(stage.filter, scratch.call, scratch.args);
    if (index > 0 && answer.kind === 'errno' && !answer.quiet)
      throw new RatchetError(
        'PROFILE_INVALID',
        `profile ${name}: stage ${stage.name} refuses aloud to map memory, which is done when it is installed`,
        {
          next: 'write quiet: true with the refusal of mmap',
        },
      );
    const isLast = index === stages.length - 1;
    const needs = [...(index === 0 ? stagerNeeds : [munmap]), ...(isLast ? [] : [...installationNeeds, munmap])];
    for (const need of needs) {
      const action = decide(stage.filter, need.call, need.args);
      if (action.kind === 'allow' || action.kind === 'log' || (action.kind === 'broker' && need.call === 'execveat'))
        continue;
      throw new RatchetError(
        'PROFILE_INVALID',
        `profile ${name}: stage ${stage.name} does not allow ${need.call}, and without it ${need.why} is not possible`,
        {
          next: 'include groups/start and use its groups one-exec and next-stage, or allow the call itself',
        },
      );
    }
  });
}

function isBrokered(filter: FilterPolicy, name: string): boolean {
  const entry = filter.syscalls.find((rules) => rules.name === name);
  return (
    entry !== undefined &&
    [entry.otherwise, ...entry.rules.map(({ action }) => action)].some(({ kind }) => kind === 'broker')
  );
}
