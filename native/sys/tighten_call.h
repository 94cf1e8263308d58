// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "sys/result.h"
#include "sys/tighten_tracee.h"

namespace ratchet {

/// Makes a stopped thread perform one system call at `instruction`, and leaves it at that call's exit stop with its registers changed.
/// The value is what the kernel returned, negative for an errno, read only at a confirmed exit of a call whose confirmed entry had this
/// number and these arguments. A Failure means that the thread's state is not known.
///
/// All signals but SIGSYS must be blocked. SIGSYS must not be: the kernel forces it for SECCOMP_RET_TRAP, and would reset a blocked one's
/// handler to do so. That stop is swallowed and counts as EPERM.
Result<std::int64_t> call_in_thread(Tracee& tracee, const arch::Registers& base, std::uint64_t instruction, long number,
                                    const arch::Arguments& arguments, const Deadline& deadline);

/// At a signal stop that has no handler's time to come yet: the kernel puts the signal back into its queue, with all that came with it,
/// since it is blocked by now (ptrace_signal() in kernel/signal.c). SIGSTOP cannot be blocked and takes its effect. `request` resumes.
Outcome postpone_signal(Tracee& tracee, int request, int signal);

}  // namespace ratchet
