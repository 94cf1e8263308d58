// SPDX-License-Identifier: Apache-2.0
import { shellStatus } from '../launch/exit-status.ts';

/** A terminal sends Ctrl-C to the VMM as well, which then ends by itself. `status`: of the first signal that came. */
export function whenSignalled(): { readonly signal: AbortSignal; readonly status: () => number | undefined } {
  const ending = new AbortController();
  let status: number | undefined;
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.on(signal, () => {
      status ??= shellStatus({ code: null, signal });
      ending.abort(new Error(`ended by ${signal}`));
    });
  return { signal: ending.signal, status: () => status };
}
