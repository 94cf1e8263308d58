// SPDX-License-Identifier: Apache-2.0
#include "sys/tighten_single_step.h"

#include <signal.h>
#include <sys/ptrace.h>

#include "sys/tighten_call.h"

namespace ratchet {

namespace {

bool is_of_the_kernel(pid_t tid) {
  siginfo_t info{};
  return ::ptrace(PTRACE_GETSIGINFO, tid, nullptr, &info) == 0 && info.si_code > 0;
}

/// From a signal stop to an event stop, with the signal put back into its queue.
Outcome set_aside(Tracee& tracee, int signal, const Deadline& deadline) {
  if (const Outcome failed = tracee.interrupt()) return failed;
  if (const Outcome failed = postpone_signal(tracee, PTRACE_CONT, signal)) return failed;
  for (;;) {
    auto stop = tracee.wait_stop(deadline);
    if (!stop.ok()) return stop.failure();
    if (stop.value().kind == StopKind::event) return {};
    if (stop.value().kind != StopKind::signal) return Failure{EPROTO, "ptrace"};
    if (const Outcome failed = postpone_signal(tracee, PTRACE_CONT, stop.value().signal)) return failed;
  }
}

}  // namespace

Result<Stepped> call_by_single_step(Tracee& tracee, const arch::Registers& base, std::uint64_t instruction, long number, const arch::Arguments& arguments,
                                    const Deadline& deadline) {
  arch::Registers registers = base;
  arch::aim(registers, instruction, number, arguments);
  if (const Outcome failed = tracee.set_registers(registers)) return *failed;
  if (const Outcome failed = tracee.resume(PTRACE_SINGLESTEP, 0)) return *failed;
  bool trapped = false;
  for (;;) {
    auto stop = tracee.wait_stop(deadline);
    if (!stop.ok()) return stop.failure();
    if (stop.value().kind == StopKind::exit) return Failure{ESRCH, "waitid"};
    if (stop.value().kind == StopKind::syscall) return Failure{EPROTO, "ptrace"};
    if (stop.value().kind == StopKind::event) {
      // A group stop, or the end of one; what the step has raised comes after it.
      if (const Outcome failed = tracee.resume(PTRACE_SINGLESTEP, 0)) return *failed;
      continue;
    }
    const int signal = stop.value().signal;
    const bool by_kernel = is_of_the_kernel(tracee.tid());
    if (signal == SIGSYS && by_kernel) {
      // A filter's SECCOMP_RET_TRAP: swallowed. The step's own signal is next.
      trapped = true;
      if (const Outcome failed = tracee.resume(PTRACE_SINGLESTEP, 0)) return *failed;
      continue;
    }
    auto now = tracee.registers();
    if (!now.ok()) return now.failure();
    const bool made = arch::has_called(now.value(), instruction, number);
    const std::int64_t result = trapped ? -EPERM : arch::result(now.value());
    if (signal == SIGTRAP && by_kernel) {
      if (!made) return Failure{EPROTO, "ptrace"};
      return Stepped{result, false};
    }
    if (!made && signal != SIGTRAP) {
      if (const Outcome failed = postpone_signal(tracee, PTRACE_SINGLESTEP, signal)) return *failed;
      continue;
    }
    // A SIGTRAP that somebody sent: with it in the queue the kernel's own is not raised.
    if (const Outcome failed = set_aside(tracee, signal, deadline)) return *failed;
    return made ? Stepped{result, true} : Stepped{{}, true};
  }
}

}  // namespace ratchet
