// SPDX-License-Identifier: Apache-2.0
// Who has taken a member over tries to get out: each attempt as each member, with everything on, and without its filter. `npm run escape` has every layer switched off in
// turn, and writes what was seen to docs/layers.md.
import { describe, expect, it } from 'vitest';
import { attempts } from './attempts.ts';
import { documented, letThrough } from './document.ts';
import { all, attemptAll, isRefused, only, profiles } from './prisoner.ts';

const seconds = 1000;

const survivable = attempts.filter(({ deadly }) => deadly === undefined);
const harmless = attempts.filter(({ filterOnly }) => filterOnly === undefined);

describe('every attempt to get out', () => {
  it('is one of at least sixty', () => {
    expect(new Set(attempts.map(({ name }) => name)).size).toBeGreaterThanOrEqual(60);
  });

  it.each(profiles)(
    'is refused as %s',
    async (profile) => {
      const results = await attemptAll(profile, { filter: true, layers: all() }, survivable);
      expect([...results].filter(([, result]) => !isRefused(result))).toEqual([]);
      expect(results.size).toBe(survivable.length);
    },
    120 * seconds,
  );

  it(
    'ends who makes a call that no program here makes',
    async () => {
      const deadly = attempts.filter(({ name }) => name === 'mount');
      const results = await attemptAll('passt', { filter: true, layers: {} }, deadly);
      expect([...results.values()].filter((result) => !result.startsWith('ended by'))).toEqual([]);
    },
    120 * seconds,
  );
});

describe('without the filter', () => {
  it.each(profiles)(
    'the layers still refuse what reaches files, siblings and the network, as %s',
    async (profile) => {
      const results = await attemptAll(profile, { filter: false, layers: all() }, harmless);
      const refused = harmless.filter(({ name }) => isRefused(results.get(name))).map(({ name }) => name);
      expect(refused).toEqual(
        expect.arrayContaining([
          ...['open', 'openat', 'openat2', 'creat', 'mkdir', 'symlink', 'chown', 'kill', 'tkill', 'kcmp', 'pidfd-open'],
          ...[
            'connect-ungranted',
            'bind-ungranted',
            'connect-abstract',
            'socket-packet',
            'socket-raw',
            'setuid',
            'bpf',
          ],
        ]),
      );
      // What gets through is written down, and no more.
      expect(documented('the filter', profile)).toEqual(expect.arrayContaining([...letThrough(results)]));
    },
    120 * seconds,
  );

  it(
    'a layer refuses its part, and lets through what is not its part',
    async () => {
      const none = await attemptAll('swtpm', { filter: false, layers: only() }, harmless);
      const files = await attemptAll('swtpm', { filter: false, layers: only('landlock-files') }, harmless);
      const processes = await attemptAll('swtpm', { filter: false, layers: only('namespace-pid') }, harmless);
      const refuses = (results: ReadonlyMap<string, string>, name: string): boolean =>
        isRefused(results.get(name)) && !isRefused(none.get(name));
      expect(refuses(files, 'mkdir')).toBe(true);
      expect(refuses(files, 'pidfd-open')).toBe(false);
      expect(refuses(processes, 'pidfd-open')).toBe(true);
      expect(refuses(processes, 'mkdir')).toBe(false);
      // Signals are scoped whatever layers there are.
      expect(isRefused(none.get('kill'))).toBe(true);
    },
    180 * seconds,
  );
});
