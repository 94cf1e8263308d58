// SPDX-License-Identifier: Apache-2.0

/** Told when a VMM makes threads that have a role, so that they get their filters before they matter. A `Sandbox` has one. */
export interface ThreadKeeper {
  /** What the VMM calls `own` among its threads, as everybody else calls it. */
  fromOwn(own: number): number;
  /**
   * Performs `add`, which makes threads of that role. `pause`, for threads that would matter at once, keeps them from running guest code and returns what
   * lets them; it is not called where the role has no filters. When they could not be given their filters the guest stays paused.
   */
  adding<T>(role: string, add: () => Promise<T>, pause?: () => Promise<() => Promise<void>>): Promise<T>;
  /** Before the guest is let run. @throws when threads lack filters that they could not be given. */
  beforeRunning(): Promise<void>;
}

/** For a VMM whose threads are nobody's concern. */
export const noKeeper: ThreadKeeper = {
  fromOwn: (own) => own,
  adding: (_role, add) => add(),
  beforeRunning: () => Promise.resolve(),
};
