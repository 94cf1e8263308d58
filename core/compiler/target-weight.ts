// SPDX-License-Identifier: Apache-2.0

import { permits, returnValue } from '../simulator/action.ts';
import type { Diagram, Diagrams } from '../verifier/diagram.ts';

/** Whether a call that gets here may still run: programs mostly make the calls that they are allowed to make. */
export function isPermitting(diagrams: Diagrams, target: Diagram): boolean {
  if (diagrams.isTerminal(target))
    return permits(diagrams.valueOf(target)) || diagrams.valueOf(target) === returnValue.userNotification;
  for (const value of diagrams.values(target))
    if (permits(value) || value === returnValue.userNotification) return true;
  return false;
}
