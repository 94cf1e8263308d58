// SPDX-License-Identifier: Apache-2.0
// One injected system call by PTRACE_SINGLESTEP: the thread stops once, at the call's end, where PTRACE_SYSCALL has it stop at the call's entry and again
// at its exit. Each stop is two changes of processor, which take longer than the calls.
//
// The stop is a SIGTRAP that the kernel forces on its way out of a call (ptrace_report_syscall_exit in kernel/entry), and what the registers say confirms it:
// the number, which we had set to -1 and the kernel notes at a call's entry, and an instruction pointer just after the instruction. It lies in the kernel's
// get_signal(), as an event stop does, so that the thread can be put back there.
//
// The kernel would reset the handler of a forced signal that is blocked or ignored. So SIGTRAP is neither, or this way is not taken (BorrowedThread).
#pragma once

#include <cstdint>
#include <optional>

#include "sys/result.h"
#include "sys/tighten_tracee.h"

namespace ratchet {

struct Stepped {
  /// As call_in_thread() gives it. Nothing: the call was not made, because a SIGTRAP of somebody else's came first.
  std::optional<std::int64_t> result;
  /// A SIGTRAP of somebody else's came, before the call or in it: the thread is at an event stop, that signal in its queue and blocked, so no step may follow.
  bool set_aside;
};

/// Leaves the thread at a stop at which it can be put back. SIGTRAP must not be blocked. A Failure: as of call_in_thread().
Result<Stepped> call_by_single_step(Tracee& tracee, const arch::Registers& base, std::uint64_t instruction, long number, const arch::Arguments& arguments,
                                    const Deadline& deadline);

}  // namespace ratchet
