// SPDX-License-Identifier: Apache-2.0
// Restartable sequences, rseq(2). A thread that is stopped inside a critical section must find itself at the section's abort handler when it
// goes on. The kernel decides that on each return to user mode from the thread's rseq_cs pointer, and clears the pointer when the
// thread is elsewhere, as it is for the injected calls. Put back before the last return, it has its effect again.
#pragma once

#include "sys/tighten_tracee.h"

namespace ratchet {

/// The thread's rseq_cs; 0 when it is in no section or has none registered.
std::uint64_t rseq_section(Tracee& tracee);

/// At an event stop. Does nothing for 0.
Outcome restore_rseq_section(Tracee& tracee, std::uint64_t section);

}  // namespace ratchet
