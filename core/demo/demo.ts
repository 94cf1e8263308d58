// SPDX-License-Identifier: Apache-2.0
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { packagePath } from '../../native/package-path.ts';
import { print, printJson } from '../cli/output.ts';
import { demoDisk } from './demo-disk.ts';
import { inOwnNetwork } from './own-network.ts';
import { StepFailed, Steps } from './steps.ts';
import { tellStory } from './story.ts';
import { describeStory } from './summary.ts';

/** Runs the demo; true when every step was as it should be. Prints as it goes, and a table or one JSON object last. */
export async function runDemo({ json }: { readonly json: boolean }): Promise<boolean> {
  const inner = await inOwnNetwork();
  if (inner !== undefined) return inner === 0;
  const steps = new Steps({ quiet: json });
  const folder = mkdtempSync(join(tmpdir(), 'ratchet-demo-'));
  const disk = join(folder, 'disk.img');
  writeFileSync(disk, demoDisk());
  const stop = new AbortController();
  process
    .on('SIGINT', () => stop.abort())
    .on('SIGTERM', () => stop.abort())
    .on('SIGHUP', () => stop.abort());
  try {
    const story = await tellStory({ steps, disk, cacheFolder: packagePath('.cache'), signal: stop.signal });
    if (!json) print(describeStory(story, steps.done));
  } catch (error) {
    if (!(error instanceof StepFailed)) throw error;
    if (!json && error.cause instanceof Error) print(error.cause.stack ?? error.cause.message);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  if (json) printJson({ ok: steps.ok, steps: steps.done });
  return steps.ok;
}
