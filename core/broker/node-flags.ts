// SPDX-License-Identifier: Apache-2.0

/**
 * How the broker's Node is started. No code is made at run time: `--jitless` needs no executable memory, and eval is off. Few threads, a small heap
 * with a hard limit.
 */
export const brokerNodeFlags: readonly string[] = [
  '--jitless',
  '--no-expose-wasm',
  '--disallow-code-generation-from-strings',
  '--disable-proto=delete',
  '--no-warnings',
  '--v8-pool-size=0',
  '--single-threaded',
  '--max-old-space-size=64',
  '--max-semi-space-size=1',
];

/** All that its environment holds. Nothing but the loading of its modules goes through the thread pool, and each thread takes filters of its own and is looked at. */
export const brokerEnvironment: NodeJS.ProcessEnv = { UV_THREADPOOL_SIZE: '1' };
