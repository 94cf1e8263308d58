// SPDX-License-Identifier: Apache-2.0
import { lstatSync, unlinkSync } from 'node:fs';

/** Socket files that the broker made, and files it was told to own: removed when it ends, unless another file has taken the name. */
export class BoundFiles {
  readonly #made = new Map<string, { readonly dev: number; readonly ino: number }>();
  readonly #owned: readonly string[];

  constructor(owned: readonly string[]) {
    this.#owned = owned;
  }

  made(path: string): void {
    const { dev, ino } = lstatSync(path);
    this.#made.set(path, { dev, ino });
  }

  removeAll(): void {
    for (const [path, { dev, ino }] of this.#made) {
      const found = lstatSync(path, { throwIfNoEntry: false });
      if (found?.dev === dev && found.ino === ino) remove(path);
    }
    for (const path of this.#owned) remove(path);
  }
}

function remove(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // Gone already, or not removable: nobody is left to tell.
  }
}
