// SPDX-License-Identifier: Apache-2.0
// The hostile program in the place of a member: its profile, its layers, its broker, the real launch.
import { type ChildProcess, spawn } from 'node:child_process';
import { chmodSync, copyFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { launchVmm } from '../../core/launch/launch.ts';
import type { Sandbox } from '../../core/launch/sandbox.ts';
import { type LayerName, type LayerOptions, layerNames } from '../../core/layers/plan.ts';
import type { Vmm } from '../../core/vmm/vmm.ts';
import { buildProgram } from '../native/build-program.ts';
import type { Attempt } from './attempts.ts';
import { programProfile } from './program-profile.ts';

export const profiles = ['qemu', 'qemu-storage-daemon', 'swtpm', 'passt', 'virtiofsd'] as const;
export const someUser = 61_999;

export interface Confinement {
  /** False: what the filter refuses is let through (soak), so that only the layers are left. */
  readonly filter: boolean;
  /** Undefined: the filter alone. */
  readonly layers: LayerOptions | undefined;
}

/** All layers, or all but one. */
export function all({ without }: { readonly without?: LayerName } = {}): LayerOptions {
  const user = without === 'user' ? {} : { user: someUser };
  return { ...user, without: without === undefined ? [] : [without] };
}

/** The named ones, with what they stand on. */
export function only(...names: readonly LayerName[]): LayerOptions {
  const user = names.includes('user') ? { user: someUser } : {};
  const wanted: readonly string[] = names.includes('root') ? [...names, 'namespace-mount'] : names;
  return { ...user, without: layerNames.filter((name) => !wanted.includes(name)) };
}

/** What became of each attempt: `refused`, an error's name or a signal, or what it returned. */
export async function attemptAll(
  profile: string,
  confinement: Confinement,
  tried: readonly Attempt[],
): Promise<ReadonlyMap<string, string>> {
  const results = new Map<string, string>();
  const uid = confinement.layers?.user;
  const sibling = spawn('sleep', ['600'], { stdio: 'ignore', ...(uid === undefined ? {} : { uid, gid: uid }) });
  let prisoner: Prisoner | undefined;
  try {
    for (const { name } of tried) {
      prisoner ??= await Prisoner.start(profile, confinement);
      for (const left of ['dir', 'file']) rmSync(`/tmp/ratchet-escape-${left}`, { force: true, recursive: true });
      const result = await prisoner.attempt(name, sibling);
      results.set(name, result);
      if (!result.startsWith('ended')) continue;
      await prisoner.close();
      prisoner = undefined;
    }
  } finally {
    await prisoner?.close();
    sibling.kill('SIGKILL');
  }
  return results;
}

/** An attempt that came to nothing. */
export function isRefused(result: string | undefined): boolean {
  return result !== undefined && !result.startsWith('= ');
}

class Prisoner {
  readonly #sandbox: Sandbox<Vmm>;
  readonly #lines: AsyncIterator<string>;
  readonly #folder: string;

  private constructor(sandbox: Sandbox<Vmm>, lines: AsyncIterator<string>, folder: string) {
    this.#folder = folder;
    this.#sandbox = sandbox;
    this.#lines = lines;
  }

  static async start(profile: string, { filter, layers }: Confinement): Promise<Prisoner> {
    const folder = mkdtempSync(join(tmpdir(), 'ratchet-prison-'));
    const file = join(folder, 'profile.yaml');
    writeFileSync(file, JSON.stringify(programProfile(profile)));
    // Where other users may look for it: a checkout in a home directory is not.
    const program = join(folder, 'escape');
    chmodSync(folder, 0o755);
    copyFileSync(buildProgram('escape', 'test/hostile/programs'), program);
    try {
      const sandbox = await launchVmm({
        command: [program],
        profile: file,
        stdio: ['pipe', 'pipe', 'inherit'],
        ...(layers === undefined ? {} : { layers }),
        ...(filter ? {} : { soak: true }),
      });
      const lines = createInterface({ input: sandbox.stdout })[Symbol.asyncIterator]();
      const prisoner = new Prisoner(sandbox, lines, folder);
      if ((await prisoner.#line()) !== 'ready') throw new Error('the prisoner did not come up');
      await sandbox.enter('running');
      return prisoner;
    } catch (error) {
      rmSync(folder, { recursive: true });
      throw error;
    }
  }

  async attempt(name: string, sibling: ChildProcess): Promise<string> {
    this.#sandbox.stdin.write(`${name} ${sibling.pid} 0\n`);
    return await this.#line();
  }

  async close(): Promise<void> {
    await this.#sandbox.kill();
    rmSync(this.#folder, { recursive: true });
  }

  async #line(): Promise<string> {
    const { value, done } = await this.#lines.next();
    return done === true ? `ended by ${(await this.#sandbox.exited).signal ?? 'itself'}` : value;
  }
}
