// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Takes mounts, and all names that lead to no mount that is left, out of the root that make_root gave to a running process, from outside:
/// `ratchet-stager --empty-root PIDFD BITS`, with the CLONE_NEW* bits of the namespaces to enter. It waits until its standard input has told it the mounts, a mount after
/// those that it lies in, each with a NUL behind it, and an empty one at the end; without that end it does nothing. What the process has open, or mapped, stays.
/// A failure is told on stderr as {"what":...,"path":...,"errno":...}, and the status is 1. A static program does this, which reads nothing of that root.
int empty_root(int argc, char** argv);
