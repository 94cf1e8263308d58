// SPDX-License-Identifier: Apache-2.0
// Takes one feature after the other from the machines of the rows that want it: what is lost, who names the feature, and that nothing else comes to harm.
import { loadFeatures } from '../../core/profile-files.ts';
import { rowName } from '../matrix/row.ts';
import type { RowResult } from '../matrix/runner.ts';
import type { Vm } from '../matrix/vm.ts';
import { featuresElsewhere, unnamedFeatures } from './elsewhere.ts';
import { allAreas, type Evidence, inShort, isRefusalOnly, runOne } from './removal.ts';

export interface FeatureEvidence extends Evidence {
  /** Who named the feature when the row failed. */
  readonly named: string;
}

/** What the row came to on machines that were launched without the feature. */
export interface WithoutFeature extends Pick<RowResult, 'outcome' | 'detail'> {
  /** Whether a refusal named it. */
  readonly inEvent: boolean;
  /** Whether an error of QEMU's or of the launch did, as `ratchet ctl` and `ratchet run` print it. */
  readonly inError: boolean;
  /** What became of a machine that did not go on. */
  readonly harm: string | undefined;
}

export const featureNames = loadFeatures('qemu').map(({ name }) => name);

/** The rows that want features and work here. */
const wanting: readonly { readonly name: string; readonly features: readonly string[] }[] = allAreas.flatMap((area) =>
  area.rows
    .filter(({ limit, missing }) => limit === undefined && missing?.() === undefined)
    .flatMap((row) => (row.features === undefined ? [] : [{ name: rowName(area, row), features: row.features }])),
);

export async function runWithoutFeature(feature: string, name: string): Promise<WithoutFeature> {
  const features: string[] = [];
  let harm: string | undefined;
  const kept = (wanting.find((row) => row.name === name)?.features ?? []).filter((each) => each !== feature);
  const { outcome, detail } = await runOne(name, {
    features: kept,
    afterFailure: async (vms) => {
      for (const vm of vms) {
        harm ??= await harmTo(vm);
        for (const event of vm.events)
          if (event.type === 'refusal') features.push(...((event['features'] ?? []) as readonly string[]));
      }
    },
  });
  const inError = new RegExp(`meanwhile the VMM was refused .*--feature ${feature}( |$)`, 'm').test(detail);
  return { outcome, detail, inEvent: features.includes(feature), inError, harm };
}

/** One feature: the first of its rows that fails without it, best one that loses its effect. */
export async function removeFeature(feature: string): Promise<FeatureEvidence> {
  let refused: FeatureEvidence | undefined;
  for (const { name: row } of wanting.filter(({ features }) => features.includes(feature))) {
    const found = await runWithoutFeature(feature, row);
    if (found.outcome !== 'failed') continue;
    // A row that failed for another reason, on a busy machine say, shows nothing.
    if (!found.inEvent && (await runOne(row)).outcome !== 'works') continue;
    const shown = { key: feature, lost: { row, how: inShort(found.detail) }, named: namedBy(feature, found) };
    if (!isRefusalOnly(found.detail)) return shown;
    refused ??= shown;
  }
  if (refused !== undefined) return refused;
  const known = featuresElsewhere[feature];
  const lost = known === undefined ? undefined : { elsewhere: known.evidence, source: known.source };
  return { key: feature, lost, named: '' };
}

function namedBy(feature: string, { inEvent, inError, harm }: WithoutFeature): string {
  const words = [...(inEvent ? ['the event'] : []), ...(inError ? ['the error'] : [])].join(' and ');
  const why = words === '' ? `nothing: ${unnamedFeatures[feature] ?? 'open'}` : words;
  return harm === undefined ? why : `${why}; ${harm}`;
}

/** QEMU lives on, and so does its guest, if it ran before. All events are there then. */
async function harmTo(vm: Vm): Promise<string | undefined> {
  if (vm.endExpected) return undefined;
  try {
    await vm.sandbox.status();
    if ((await vm.sandbox.vmm.status()).running) await vm.guestGoesOn();
    return undefined;
  } catch (error) {
    return vm.ended ?? (error as Error).message.split('\n')[0];
  }
}
