// SPDX-License-Identifier: Apache-2.0
// Which files a program may have: those that it opens itself, as its `layers` list them, and those that its broker opens for it, because AppArmor asks again when
// a descriptor arrives.
import { RatchetError } from '../../errors.ts';
import { parsePathRule } from '../../policy/address/index.ts';
import type { Layers } from '../../policy/layers.ts';
import { mayPermit } from '../../policy/may-permit.ts';
import type { BrokerRule, FilterPolicy } from '../../policy/types.ts';

export interface FileFacts {
  readonly filter: FilterPolicy;
  readonly broker: readonly BrokerRule[];
  readonly layers: Layers;
  /** The program's own file, where it does not lie beneath what `layers` reads. */
  readonly program: string | undefined;
}

/** Nothing there is a library. */
const withoutLibraries = /^\/(dev|etc|proc|sys)(\/|$)/;
const protExec = 4n;

/** A rule each. */
export function fileRules({ filter, broker, layers, program }: FileFacts): readonly string[] {
  // PROT_EXEC with every choice of PROT_READ and PROT_WRITE.
  const mapsCode = [0n, 1n, 2n, 3n].some((others) => mayPermit(filter, 'mmap', { 2: protExec | others }));
  const locks = mayPermit(filter, 'flock') || mayPermit(filter, 'fcntl') ? 'k' : '';
  const code = (path: string): string => (mapsCode && !withoutLibraries.test(path) ? 'mr' : 'r');
  const opens = broker.filter(({ request }) => request === 'open');
  const granted = opens.filter(({ refuseErrno }) => refuseErrno === undefined);
  // What it may open by itself its broker does not refuse.
  const refused = ownOpens(filter) ? [] : opens.filter(({ refuseErrno }) => refuseErrno !== undefined);
  return [
    ...(program === undefined ? [] : [`${quoted(literal(program))} mr,`]),
    ...layers.files.read.map((path) => `${beneath(path)} ${code(path)},`),
    ...(layers.files.write ?? []).map((path) => `${beneath(path)} rw${locks},`),
    ...granted.flatMap(({ target }) => {
      const rule = parsePathRule(target);
      const whole = layers.files.folders === 'whole';
      const folder = whole ? /^(.*\/)\*\*$/.exec(rule.pattern)?.[1] : undefined;
      return [
        `${quoted(escaped(rule.pattern))} ${rule.readOnly ? 'r' : whole ? 'rwl' : 'rw'}${locks},`,
        // Which `**` does not mean.
        ...(folder === undefined ? [] : [`${quoted(escaped(folder))} r,`]),
      ];
    }),
    ...broker.flatMap(deviceRules),
    ...refused.map(({ target }) => {
      const rule = parsePathRule(target);
      return `audit deny ${quoted(escaped(rule.pattern))} ${rule.readOnly ? 'r' : 'rw'},`;
    }),
  ];
}

/** Whether the kernel opens files for it that no broker has judged. */
export function ownOpens(filter: FilterPolicy): boolean {
  return ['open', 'openat', 'openat2', 'creat'].some((call) => mayPermit(filter, call));
}

/** A request's own node. Memory files and pairs have none, and AppArmor does not ask about them. */
function deviceRules({ request, refuseErrno }: BrokerRule): readonly string[] {
  if (refuseErrno !== undefined) return [];
  if (request === 'tap') return ['/dev/net/tun rw,'];
  return request === 'terminal' ? ['/dev/ptmx rw,', '/dev/pts/* rw,'] : [];
}

/** The path itself, whatever it is, and what lies beneath it. */
function beneath(path: string): string {
  return path === '/' ? '/{,**}' : quoted(literal(path), '{,/,/**}');
}

/** A name, in which `*` is a character like any other. */
function literal(path: string): string {
  return escaped(path).replaceAll('*', '\\*');
}

/**
 * A grant's pattern: `*` and a `/**` at the end mean the same in both grammars, and the rest is meant as it stands. Inside of quotes a backslash takes the meaning
 * from the character after it; there is no other way to write a quote. A path's own backslash is refused: AppArmor's reader would take one before the closing quote
 * for a quote in the name.
 * @throws RatchetError ARGUMENT_INVALID.
 */
function escaped(path: string): string {
  if (/[\\\p{Cc}]/u.test(path))
    throw new RatchetError('ARGUMENT_INVALID', `AppArmor cannot be told of the path ${JSON.stringify(path)}`, {
      next: 'rename it: no backslash and no control character',
    });
  return path.replace(/["?[\]{}^,@]/g, '\\$&');
}

function quoted(text: string, tail = ''): string {
  return `"${text}${tail}"`;
}
