// SPDX-License-Identifier: Apache-2.0
import { afterEach, beforeAll, expect } from 'vitest';
import { buildProgram } from './build-program.ts';
import { openFds } from './fds.ts';
import { nextTurn } from './victim.ts';

/** Builds the victims, and checks after each test that none of its descriptors stayed open here. */
export function useVictims(): void {
  let before = 0;
  beforeAll(() => {
    buildProgram('victim');
    before = openFds();
  });
  afterEach(async () => {
    // The pipes of a child that has ended are closed a turn later.
    for (let turns = 0; turns < 1000 && openFds() > before; turns++) await nextTurn();
    expect(openFds()).toBeLessThanOrEqual(before);
  });
}
