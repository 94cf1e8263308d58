// SPDX-License-Identifier: Apache-2.0
import { lstatSync } from 'node:fs';
import { native } from '../native/index.ts';
import { readSmallFile } from './read-file.ts';

/** Socket files that the broker made, and files it was told to own: removed when it ends, unless another file has taken the name. */
export class BoundFiles {
  readonly #made = new Map<string, { readonly dev: number; readonly ino: number }>();
  readonly #owned: readonly string[];
  onChange: () => void = () => undefined;

  constructor(owned: readonly string[]) {
    this.#owned = owned;
  }

  made(path: string): void {
    const { dev, ino } = lstatSync(path);
    this.#made.set(path, { dev, ino });
    this.onChange();
  }

  /** A file that the broker before had made. */
  remember({ path, dev, ino }: { readonly path: string; readonly dev: number; readonly ino: number }): void {
    this.#made.set(path, { dev, ino });
  }

  list(): { readonly path: string; readonly dev: number; readonly ino: number }[] {
    return [...this.#made].map(([path, file]) => ({ path, ...file }));
  }

  /**
   * Removes a socket file that the broker made for this VM and whose socket is closed by now. A VMM would unlink it itself before it binds again, but
   * may unlink nothing any more. True when it is gone.
   */
  removeStale(path: string): boolean {
    if (!this.#isOurs(path) || isInUse(path)) return false;
    remove(path);
    return true;
  }

  /** For the VMM's own unlink: only what was made for it, whether it is in use or not. */
  remove(path: string): 'removed' | 'missing' | 'not ours' {
    if (lstatSync(path, { throwIfNoEntry: false }) === undefined) return 'missing';
    if (!this.#isOurs(path)) return 'not ours';
    remove(path);
    this.#made.delete(path);
    return 'removed';
  }

  removeAll(): void {
    for (const path of this.#made.keys()) if (this.#isOurs(path)) remove(path);
    for (const path of this.#owned) remove(path);
  }

  /** Still the very file, not another one of that name. */
  #isOurs(path: string): boolean {
    const made = this.#made.get(path);
    const found = lstatSync(path, { throwIfNoEntry: false });
    return made !== undefined && found?.dev === made.dev && found.ino === made.ino;
  }
}

/** Whether a socket is bound to the path. Asked of /proc/net/unix: a connect would be taken for a client. */
function isInUse(path: string): boolean {
  return readSmallFile('/proc/net/unix')
    .split('\n')
    .some((line) => line.endsWith(` ${path}`));
}

function remove(path: string): void {
  try {
    native.unlinkFile({ path });
  } catch {
    // Gone already, or not removable: nobody is left to tell.
  }
}
