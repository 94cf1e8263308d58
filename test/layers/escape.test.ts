// SPDX-License-Identifier: Apache-2.0
// Who has taken a member over tries to get out: each attempt as each member, with everything on; then with the filter alone, and with each layer alone, to see which
// of them refuses what. UPDATE_LAYERS=1 writes what was seen to docs/layers.md.
import { describe, expect, it } from 'vitest';
import { attempts } from './attempts.ts';
import { layersTable } from './document.ts';
import { attemptAll, isRefused, only, profiles, someUser } from './prisoner.ts';

const seconds = 1000;

const survivable = attempts.filter(({ deadly }) => deadly === undefined);

describe('every attempt to get out', () => {
  it('is one of at least sixty', () => {
    expect(new Set(attempts.map(({ name }) => name)).size).toBeGreaterThanOrEqual(60);
  });

  it.each(profiles)(
    'is refused as %s',
    async (profile) => {
      const results = await attemptAll(profile, { filter: true, layers: { user: someUser } }, survivable);
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
  const harmless = attempts.filter(({ filterOnly }) => filterOnly === undefined);

  it('the layers still refuse what reaches files, siblings and the network', async () => {
    const results = await attemptAll('swtpm', { filter: false, layers: { user: someUser } }, harmless);
    const refused = harmless.filter(({ name }) => isRefused(results.get(name))).map(({ name }) => name);
    expect(refused).toEqual(
      expect.arrayContaining([
        ...['open', 'openat', 'openat2', 'creat', 'mkdir', 'symlink', 'chown', 'kill', 'tkill', 'kcmp'],
        ...['connect-ungranted', 'bind-ungranted', 'connect-abstract', 'socket-packet', 'socket-raw', 'setuid', 'bpf'],
      ]),
    );
  });

  it(
    'each layer refuses its part',
    async () => {
      const none = await attemptAll('swtpm', { filter: false, layers: only() }, harmless);
      const alone = new Map<string, ReadonlyMap<string, string>>();
      for (const layer of ['landlock-files', 'landlock-tcp', 'landlock-scopes', 'user', 'namespace-net'] as const)
        alone.set(layer, await attemptAll('swtpm', { filter: false, layers: only(layer) }, harmless));
      const refuses = (layer: string, name: string): boolean =>
        isRefused(alone.get(layer)?.get(name)) && !isRefused(none.get(name));
      expect(refuses('landlock-files', 'mkdir')).toBe(true);
      // Signals are scoped whatever layers there are.
      expect(isRefused(none.get('kill'))).toBe(true);
      expect(refuses('user', 'chown')).toBe(true);
      const filter = await attemptAll('swtpm', { filter: true, layers: undefined }, survivable);
      if (process.env['UPDATE_LAYERS'] === '1') await layersTable(attempts, { none, alone, filter });
    },
    180 * seconds,
  );
});
