// SPDX-License-Identifier: Apache-2.0
import { randomUUID } from 'node:crypto';
import { rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { packagePath } from '../../native/package-path.ts';
import { print, printJson } from '../cli/output.ts';
import { shellStatus } from '../launch/exit-status.ts';
import { demoDisk } from './demo-disk.ts';
import { inOwnNetwork } from './own-network.ts';
import { StepFailed, Steps } from './steps.ts';
import { tellStory } from './story.ts';
import { describeStory } from './summary.ts';

/**
 * Runs the demo and gives its exit status: 0 when every step was as it should be, 1 when one was not, 128 + the signal's number when it was
 * interrupted. Prints as it goes, and a table or one JSON object last.
 */
export async function runDemo({ json }: { readonly json: boolean }): Promise<number> {
  const inner = await inOwnNetwork();
  if (inner !== undefined) return inner;
  const steps = new Steps({ quiet: json });
  const disk = join(tmpdir(), `ratchet-demo-${randomUUID()}.img`);
  writeFileSync(disk, demoDisk(), { flag: 'wx', mode: 0o600 });
  const stop = new AbortController();
  let interrupted: NodeJS.Signals | undefined;
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.on(signal, () => {
      interrupted ??= signal;
      stop.abort(new Error(`interrupted by ${signal}`));
    });
  try {
    const story = await tellStory({ steps, disk, cacheFolder: packagePath('.cache'), signal: stop.signal });
    if (!json) print(describeStory(story, steps.done));
  } catch (error) {
    if (!(error instanceof StepFailed)) throw error;
    if (!json && interrupted === undefined && error.cause instanceof Error)
      print(error.cause.stack ?? error.cause.message);
  } finally {
    rmSync(disk, { force: true });
  }
  if (json) printJson({ ok: steps.ok, steps: steps.done });
  if (interrupted !== undefined) return shellStatus({ code: null, signal: interrupted });
  return steps.ok ? 0 : 1;
}
