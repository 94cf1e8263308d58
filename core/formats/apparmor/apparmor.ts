// SPDX-License-Identifier: Apache-2.0
// The mandatory access control profile that follows from the facts which also make a program's filters, its broker's rules and its layers. AppArmor asks about the
// object where a filter sees numbers: the two are a wall each, and neither repeats the other.
//
// It holds from the program's exec to its end, so it permits what the first of the stages asked for permits, and what a broker may grant in that stage or
// a later one.
import { RatchetError } from '../../errors.ts';
import type { Layers } from '../../policy/layers.ts';
import { mayPermit } from '../../policy/may-permit.ts';
import type { BrokerRule, ResolvedProfile, ResolvedStage } from '../../policy/types.ts';
import { fileRules, ownOpens } from './files.ts';
import { socketRules } from './sockets.ts';

export interface AppArmorFacts {
  readonly profile: ResolvedProfile;
  /** The stage that the program is in when it is confined; the later ones follow. */
  readonly stage: ResolvedStage;
  readonly layers: Layers | undefined;
  /** The program's file, where it does not lie beneath what `layers` reads. */
  readonly program?: string | undefined;
  /** What the profile is called in the kernel. */
  readonly name: string;
}

export interface AppArmorExport {
  readonly document: string;
  /** What AppArmor cannot say. */
  readonly notes: readonly string[];
}

/** @throws RatchetError ARGUMENT_INVALID for a profile without `layers`: nothing says then which files the program opens. */
export function exportAppArmor({ profile, stage, layers, program, name }: AppArmorFacts): AppArmorExport {
  if (layers === undefined)
    throw new RatchetError('ARGUMENT_INVALID', `profile ${profile.name} has no layers: its files are not known`, {
      next: 'write `layers` into it, with `files`',
    });
  const { filter } = stage;
  const broker = profile.stages.filter(({ epoch }) => epoch >= stage.epoch).flatMap((each) => each.broker);
  const ownMounts = layers.namespaces.includes('mount');
  const sections: readonly (readonly [string, readonly string[]])[] = [
    ['It has no capabilities, mounts nothing and starts no program.', refusals(stage)],
    [
      'Its launcher installs filters by ptrace, its broker reads addresses from its memory, and both may end it. It does none of this to others.',
      [
        'ptrace (readby, tracedby) peer=unconfined,',
        'signal (receive) peer=unconfined,',
        `signal (send, receive) peer=${name},`,
      ],
    ],
    [
      'Sockets: those that its filter lets it make, and those that its broker makes for it.',
      socketRules(filter, broker),
    ],
    [`Files: ${oneLine(layers.why)}.`, fileRules({ filter, broker, layers, program })],
    ['Limits.', limits(layers)],
  ];
  const document = [
    `# ${oneLine(profile.name)} from its stage ${stage.name} on, as AppArmor can say it. Load it with apparmor_parser -r; whoever starts the program enters it.`,
    '# `peer=unconfined` is the launcher and the broker: put their own profile there if they have one.',
    'abi <abi/3.0>,',
    '',
    `profile ${name}${ownMounts ? ' flags=(attach_disconnected)' : ''} {`,
    sections
      .filter(([, rules]) => rules.length > 0)
      .map(([why, rules]) => [`  # ${why}`, ...[...new Set(rules)].map((rule) => `  ${rule}`)].join('\n'))
      .join('\n\n'),
    '}',
    '',
  ].join('\n');
  return { document, notes: notes({ profile, stage, layers, broker, ownMounts, program }) };
}

/** A kernel name that needs no quotes. */
export function appArmorName(...parts: readonly string[]): string {
  return ['ratchet', ...parts].join('-').replace(/[^\w.-]+/g, '-');
}

function refusals({ filter }: ResolvedStage): readonly string[] {
  const starts = mayPermit(filter, 'execve') || mayPermit(filter, 'execveat');
  return [
    'audit deny capability,',
    'audit deny mount,',
    'audit deny remount,',
    'audit deny umount,',
    'audit deny pivot_root,',
    ...(starts ? [] : ['audit deny /** x,']),
  ];
}

/** Soft and hard limits of the same names; a core dump would hold the guest's memory. */
function limits({ rlimits = {} }: Layers): readonly string[] {
  return Object.entries({ core: 0, ...rlimits }).map(([name, value]) => `set rlimit ${name} <= ${value},`);
}

interface Noted extends Pick<AppArmorFacts, 'profile' | 'stage' | 'program'> {
  readonly layers: Layers;
  readonly broker: readonly BrokerRule[];
  readonly ownMounts: boolean;
}

function notes({ profile, stage, layers, broker, ownMounts, program }: Noted): readonly string[] {
  const open = broker.filter(({ refuseErrno }) => refuseErrno === undefined);
  const targets = (...kinds: readonly string[]): readonly string[] => [
    ...new Set(
      open.filter(({ request }) => kinds.includes(request)).map(({ request, target }) => `${request}=${target}`),
    ),
  ];
  const addresses = targets('connect', 'bind');
  const devices = targets('device');
  const refused = stillOpen(stage, layers, broker);
  const later = profile.stages.filter(({ epoch }) => epoch > stage.epoch).map(({ name }) => name);
  return [
    'system calls and their arguments are not part of it: the filter stays the one that refuses them',
    'user namespaces and io_uring have no word in its ABI 3.0: the filter alone refuses them',
    ...(later.length === 0
      ? []
      : [`it holds for ${later.join(' and ')} too, which take away more: AppArmor knows no stages`]),
    ...(addresses.length === 0 ? [] : [`addresses became families and types: ${addresses.join(' ')}`]),
    ...(devices.length === 0
      ? []
      : [`it knows devices by path alone; grant these with open=PATH too: ${devices.join(' ')}`]),
    ...(refused.length === 0
      ? []
      : [
          `its files are opened by itself in this stage, so what the broker refuses beneath them stays open: ${refused.join(' ')}`,
        ]),
    ...(mayPermit(stage.filter, 'execve') || mayPermit(stage.filter, 'execveat')
      ? ['the stage permits execve; no program may be started here']
      : []),
    ...(program === undefined ? ['the program must lie beneath what `layers` reads; --program names another'] : []),
    'descriptors that it inherits are asked about too: a terminal or file on its standard streams needs open=PATH',
    ...(ownMounts
      ? [
          'it has mounts of its own: files of the broker from other file systems than the root are known there by the path within their file system',
        ]
      : []),
  ];
}

/** Paths that the broker refuses and the stage opens by itself, beneath what it may read. */
function stillOpen({ filter }: ResolvedStage, { files }: Layers, broker: readonly BrokerRule[]): readonly string[] {
  if (!ownOpens(filter)) return [];
  const refused = broker.filter(({ request, refuseErrno }) => request === 'open' && refuseErrno !== undefined);
  const readable = (target: string): boolean => files.read.some((root) => target.startsWith(`${root}/`));
  return [...new Set(refused.map(({ target }) => target).filter(readable))];
}

function oneLine(text: string): string {
  return text.replace(/\s+/g, ' ').trim();
}
