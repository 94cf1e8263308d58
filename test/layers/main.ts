// SPDX-License-Identifier: Apache-2.0
// `npm run escape`: every attempt to get out, as each member, with the filter and each layer switched off in turn, and with each alone; writes the tables of docs/layers.md.
import { print } from '../../core/cli/output.ts';
import type { LayerName } from '../../core/layers/plan.ts';
import { loadLayers } from '../../core/profile-files.ts';
import { attempts } from './attempts.ts';
import { letThrough, type Results, writeAlone, writeWithout } from './document.ts';
import { all, attemptAll, only, profiles } from './prisoner.ts';

/** Layers that refuse something by themselves. */
const refusing = [
  ...['landlock-files', 'landlock-tcp', 'landlock-scopes', 'user', 'namespace-net', 'namespace-pid', 'root'],
] as readonly LayerName[];
/** Their filters let files be opened and made; which, only layers can say. */
const opensByItself: readonly string[] = ['virtiofsd'];
const survivable = attempts.filter(({ deadly }) => deadly === undefined);
const harmless = attempts.filter(({ filterOnly }) => filterOnly === undefined);

async function switchedOff(): Promise<boolean> {
  const seen = new Map<string, Map<string, readonly string[]>>();
  const record = async (off: string, member: string, results: Promise<Results>): Promise<void> => {
    const names = letThrough(await results);
    print(`${member} without ${off}: ${names.length === 0 ? 'nothing' : names.join(', ')}`);
    seen.set(off, (seen.get(off) ?? new Map<string, readonly string[]>()).set(member, names));
  };
  for (const member of profiles) {
    await record('nothing', member, attemptAll(member, { filter: true, layers: all() }, survivable));
    for (const layer of refusing.filter((each) => has(member, each)))
      await record(layer, member, attemptAll(member, { filter: true, layers: all({ without: layer }) }, survivable));
    await record('all layers', member, attemptAll(member, { filter: true, layers: undefined }, survivable));
  }
  const withFilter = [...seen].every(([off, byMember]) =>
    [...byMember].every(
      ([member, names]) => names.length === 0 || (off === 'all layers' && opensByItself.includes(member)),
    ),
  );
  for (const member of profiles) {
    await record('the filter', member, attemptAll(member, { filter: false, layers: all() }, harmless));
    for (const layer of refusing.filter((each) => has(member, each)))
      await record(
        `the filter and ${layer}`,
        member,
        attemptAll(member, { filter: false, layers: all({ without: layer }) }, harmless),
      );
  }
  writeWithout(profiles, seen);
  return withFilter;
}

function has(member: string, layer: LayerName): boolean {
  const namespaces: readonly string[] = loadLayers(member)?.namespaces ?? [];
  return !layer.startsWith('namespace-') || namespaces.includes(layer.replace('namespace-', ''));
}

async function eachAlone(): Promise<void> {
  const alone = new Map<string, Results>();
  for (const layer of refusing)
    alone.set(layer, await attemptAll('swtpm', { filter: false, layers: only(layer) }, harmless));
  writeAlone(attempts, {
    alone,
    none: await attemptAll('swtpm', { filter: false, layers: only() }, harmless),
    filter: await attemptAll('swtpm', { filter: true, layers: undefined }, survivable),
  });
}

const held = await switchedOff();
await eachAlone();
if (!held) print('an attempt got through the filter');
process.exitCode = held ? 0 : 1;
