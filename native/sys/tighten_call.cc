// SPDX-License-Identifier: Apache-2.0
#include "sys/tighten_call.h"

#include <signal.h>
#include <sys/ptrace.h>

#include <algorithm>
#include <cerrno>

namespace ratchet {

namespace {

using SyscallInfo = struct __ptrace_syscall_info;  // glibc's name: <linux/ptrace.h> cannot be included beside <sys/ptrace.h>.

Result<SyscallInfo> syscall_info(pid_t tid) {
  SyscallInfo info{};
  if (::ptrace(PTRACE_GET_SYSCALL_INFO, tid, reinterpret_cast<void*>(sizeof info), &info) < 0) return last_failure("ptrace");
  return info;
}

bool is_entry_of(const SyscallInfo& info, long number, const arch::Arguments& arguments) {
  return info.op == PTRACE_SYSCALL_INFO_ENTRY && info.arch == arch::audit_arch &&
         info.entry.nr == static_cast<std::uint64_t>(number) &&
         std::equal(arguments.begin(), arguments.end(), std::begin(info.entry.args));
}

/// After SECCOMP_RET_TRAP the exit stop shows the call's own number in place of a result (syscall_rollback), with SIGSYS pending.
/// ETIMEDOUT while signals come faster than they are looked through: what was answered is not known.
Result<bool> may_be_trapped(pid_t tid, const SyscallInfo& info, long number, const Deadline& deadline) {
  if (info.exit.rval != number) return false;
  // Signals that a fault or a filter raised stand in the thread's own queue, perhaps behind older ones that are blocked. The kernel walks to `off` from the
  // front each time: one by one a queue of RLIMIT_SIGPENDING would take its square.
  constexpr std::int32_t at_once = 64;
  siginfo_t pending[at_once];
  for (struct __ptrace_peeksiginfo_args from = {0, 0, at_once};; from.off += at_once) {
    const long seen = ::ptrace(PTRACE_PEEKSIGINFO, tid, &from, pending);
    if (seen < 0) return last_failure("ptrace");
    const bool trapped = std::any_of(pending, pending + seen, [](const siginfo_t& signal) {
      return signal.si_signo == SIGSYS && signal.si_code == 1;
    });
    if (trapped || seen < at_once) return trapped;
    if (deadline.passed()) return Failure{ETIMEDOUT, "ptrace"};
  }
}

/// Raised by the kernel for a filter's SECCOMP_RET_TRAP (sigaction(2): si_code SYS_SECCOMP is 1), not sent by anyone.
bool is_filter_trap(pid_t tid, int signal) {
  siginfo_t info{};
  return signal == SIGSYS && ::ptrace(PTRACE_GETSIGINFO, tid, nullptr, &info) == 0 && info.si_code == 1;
}

}  // namespace

Result<std::int64_t> call_in_thread(Tracee& tracee, const arch::Registers& base, std::uint64_t instruction, long number,
                                    const arch::Arguments& arguments, const Deadline& deadline) {
  arch::Registers registers = base;
  arch::aim(registers, instruction, number, arguments);
  if (const Outcome failed = tracee.set_registers(registers)) return *failed;
  if (const Outcome failed = tracee.resume(PTRACE_SYSCALL, 0)) return *failed;
  bool entered = false;
  bool trapped = false;
  for (;;) {
    auto stop = tracee.wait_stop(deadline);
    if (!stop.ok()) return stop.failure();
    switch (stop.value().kind) {
      case StopKind::event: {
        // A group stop, or the end of one. The thread goes on until it is let go; then the kernel stops it with the others. After a
        // trapped call we are back where we were: stay at this stop.
        if (trapped) return -EPERM;
        if (const Outcome failed = tracee.resume(PTRACE_SYSCALL, 0)) return *failed;
        break;
      }
      case StopKind::signal: {
        const int signal = stop.value().signal;
        if (entered && is_filter_trap(tracee.tid(), signal)) {
          trapped = true;
          if (const Outcome failed = tracee.interrupt()) return *failed;
          if (const Outcome failed = tracee.resume(PTRACE_CONT, 0)) return *failed;
          break;
        }
        if (const Outcome failed = postpone_signal(tracee, PTRACE_SYSCALL, signal)) return *failed;
        break;
      }
      case StopKind::exit:
        return Failure{ESRCH, "waitid"};
      case StopKind::syscall: {
        auto info = syscall_info(tracee.tid());
        if (!info.ok()) return info.failure();
        if (!entered) {
          if (!is_entry_of(info.value(), number, arguments)) return Failure{EPROTO, "ptrace"};
          entered = true;
          if (const Outcome failed = tracee.resume(PTRACE_SYSCALL, 0)) return *failed;
          break;
        }
        if (info.value().op != PTRACE_SYSCALL_INFO_EXIT) return Failure{EPROTO, "ptrace"};
        const auto is_trapped = may_be_trapped(tracee.tid(), info.value(), number, deadline);
        if (!is_trapped.ok()) return is_trapped.failure();
        if (!is_trapped.value()) return info.value().exit.rval;
        if (const Outcome failed = tracee.resume(PTRACE_CONT, 0)) return *failed;
        break;
      }
    }
  }
}

Outcome postpone_signal(Tracee& tracee, int request, int signal) {
  auto mask = tracee.signal_mask();
  if (!mask.ok()) return mask.failure();
  if (const Outcome failed = tracee.set_signal_mask(mask.value() | 1ULL << (signal - 1))) return failed;
  return tracee.resume(request, signal);
}

}  // namespace ratchet
