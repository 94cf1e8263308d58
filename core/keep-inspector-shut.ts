// SPDX-License-Identifier: Apache-2.0

let kept = false;

/**
 * SIGUSR1 does nothing in this process any more. Node would open its inspector, which does what whoever connects says, and before Linux 6.12 a VMM may send that signal
 * to processes of its user. For good: without a listener the signal would end the process.
 */
export function keepInspectorShut(): void {
  if (kept) return;
  kept = true;
  process.on('SIGUSR1', () => undefined);
}
