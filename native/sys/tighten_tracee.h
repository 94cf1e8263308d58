// SPDX-License-Identifier: Apache-2.0
// One traced thread, and what ptrace(2) can do with it while it is stopped.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "sys/result.h"
#include "sys/tighten_arch.h"
#include "sys/tighten_deadline.h"
#include "sys/tighten_process.h"

namespace ratchet {

/// event: PTRACE_INTERRUPT or a group stop, inside the kernel's get_signal(), before it looks at pending restarts.
/// exit: the thread is about to end (PTRACE_O_TRACEEXIT), where that was asked for.
enum class StopKind { event, signal, syscall, exit };

struct Stop {
  StopKind kind;
  /// For `signal`: which one. For `event`: SIGTRAP, or the signal that has stopped the process.
  int signal;
};

/// What must be done while a thread is waited for.
struct Attention {
  void (*function)(void* context);
  void* context;
};

class Tracee {
 public:
  Tracee(const Process& process, pid_t tid) : process_(process), tid_(tid) {}

  pid_t tid() const { return tid_; }

  /// PTRACE_SEIZE, then proof that the thread is the process's. Runs on; nothing is set yet that could kill it.
  Outcome seize();
  /// PTRACE_INTERRUPT: asks for an event stop.
  Outcome interrupt();
  /// A stop that has happened, without waiting. ESRCH when the thread has ended.
  Result<std::optional<Stop>> poll();
  /// An event stop that has happened; signals that come before are delivered as ever.
  Result<bool> poll_event_stop();
  /// Waits for poll_event_stop(). ETIMEDOUT; EBUSY once it is seen that the thread waits for the supervisor.
  Outcome wait_event_stop(const Deadline& deadline);
  /// Waits for any stop. ETIMEDOUT, ESRCH.
  Result<Stop> wait_stop(const Deadline& deadline);

  Outcome set_options(unsigned long options);
  /// PTRACE_CONT or PTRACE_SYSCALL.
  Outcome resume(int request, int signal);
  Outcome detach();
  /// From an event stop, still traced. With the signal that has stopped the process the thread stays in that stop (PTRACE_LISTEN).
  Outcome run_on(int signal);
  /// The same for the event stop that was last waited for.
  Outcome run_on() { return run_on(last_event_signal_); }

  /// Called again and again while this waits.
  void set_attention(const Attention* attention) { attention_ = attention; }

  Result<arch::Registers> registers();
  Outcome set_registers(const arch::Registers& registers);
  /// The vector registers, in a form that can be compared.
  Result<std::vector<std::uint8_t>> vector_state();
  Result<std::uint64_t> signal_mask();
  Outcome set_signal_mask(std::uint64_t mask);
  Outcome read_memory(std::uint64_t address, std::span<std::uint8_t> destination);
  Outcome write_memory(std::uint64_t address, std::span<const std::uint8_t> source);

 private:
  const Process& process_;
  pid_t tid_;
  const Attention* attention_ = nullptr;
  int last_event_signal_ = 0;
};

/// At an event stop: hides the stop from a call that would answer it with EINTR. A signal that is about to be delivered keeps its EINTR.
Outcome hide_interruption(Tracee& tracee, const Process& process);

}  // namespace ratchet
