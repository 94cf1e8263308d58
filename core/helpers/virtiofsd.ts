// SPDX-License-Identifier: Apache-2.0
import { RatchetError } from '../errors.ts';
import { helperAdapter } from './helper.ts';

/** What would have it leave the process that is watched, or look for its folder in another root than Ratchet makes. */
const conflicts: readonly (readonly [RegExp, string])[] = [
  [/^--daemonize$/, 'leave it out: a program that forks away cannot be tightened'],
  [/^--socket-path(=|$)/, 'give it the listening socket that it inherits, with --fd'],
  [/(^|,|^-o)sandbox=/, 'leave it out: its namespaces and its root are made before it starts'],
];

/**
 * QEMU's virtiofsd (until 7.2) with a listening socket inherited (`--fd=N`). Its profile answers for what it does to itself in `sandbox=chroot`. It serves one client, and is set up
 * when that one is: a machine with such a device is not built before the daemon has answered.
 */
export const virtiofsdAdapter = helperAdapter('virtiofsd', {
  servesOnce: true,
  words: (args) => {
    for (const word of args)
      for (const [pattern, next] of conflicts)
        if (pattern.test(word))
          throw new RatchetError('VMM_ARGUMENT_CONFLICT', `${word} does not go together with ratchet`, { next });
    // The stager has set the limit of open files.
    return ['-f', '-o', 'sandbox=chroot', '--rlimit-nofile=0', ...args];
  },
});
