// SPDX-License-Identifier: Apache-2.0
// A stopped thread that is made to perform system calls for us, and gets back what it had: registers with vector state, signal mask,
// restartable sequence, and the call that the stop interrupted.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "sys/result.h"
#include "sys/tighten.h"
#include "sys/tighten_step.h"
#include "sys/tighten_tracee.h"

namespace ratchet {

/// At an event stop. ENOEXEC for foreign code, or when something is under way that an injected call would upset; ESRCH.
Outcome why_no_calls(Tracee& tracee);

/// Where a process can be made to call.
struct CallSite {
  /// The address of a syscall instruction in it.
  std::uint64_t instruction;
  /// It ignores SIGTRAP, so its threads must not be stepped. One that begins to while a filter is being installed finds the default in its place.
  bool ignores_trap;
};

CallSite call_site(const Process& process, std::uint64_t instruction);

class BorrowedThread {
 public:
  /// `tracee` is at an event stop.
  BorrowedThread(Tracee& tracee, const Process& process, const CallSite& site, const StepObserver& observer)
      : tracee_(&tracee), process_(&process), site_(site), observer_(&observer) {}

  pid_t tid() const { return tracee_->tid(); }
  void tell(const char* step) const { observer_->tell(step, tid()); }

  Outcome why_unusable() { return why_no_calls(*tracee_); }
  /// Saves what will be changed, and makes the death of our thread the death of the process. A failure: nothing was changed.
  std::optional<StepFailure> save(unsigned long more_options = 0);
  /// Blocks the signals. From here to let_go() a failure leaves the thread traced with EXITKILL: the process dies as our thread ends.
  std::optional<StepFailure> mask();
  /// As call_in_thread().
  Result<std::int64_t> call(long number, const arch::Arguments& arguments, const Deadline& deadline);
  Outcome write_memory(std::uint64_t address, std::span<const std::uint8_t> bytes) { return tracee_->write_memory(address, bytes); }
  /// Puts everything back and compares. Leaves the thread at a stop from which it can be let go.
  std::optional<StepFailure> put_back(const Deadline& deadline);
  /// The same, and at an event stop, from which it can run on.
  std::optional<StepFailure> put_back_at_event(const Deadline& deadline);
  /// Detaching drops EXITKILL in the same step.
  std::optional<StepFailure> let_go();

 private:
  struct Saved {
    arch::Registers registers;
    std::vector<std::uint8_t> vector_state;
    std::uint64_t signal_mask;
    std::uint64_t rseq_section;
  };

  std::optional<StepFailure> come_to_event(const Deadline& deadline);
  std::optional<StepFailure> restore();

  Tracee* tracee_;
  const Process* process_;
  CallSite site_;
  const StepObserver* observer_;
  /// Calls are made by single steps, and nothing has come in between.
  bool steps_ = false;
  /// The thread stands in the kernel's get_signal(), where what it was doing is put back.
  bool in_get_signal_ = true;
  Saved saved_{};
};

}  // namespace ratchet
