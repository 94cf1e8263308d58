// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <optional>

#include "sys/tighten_borrow.h"

namespace ratchet {

/// One thread that is kept traced with EXITKILL while others are changed one after the other, and runs meanwhile: from the first change to the last
/// the death of our thread is the death of the process. It lends the memory too, which all threads see.
///
/// Whoever waits for something attends to it, since a traced thread stops at each signal.
class Anchor {
 public:
  Anchor(const Process& process, pid_t tid, const CallSite& site, const StepObserver& observer)
      : process_(process), tracee_(process, tid), thread_(tracee_, process, site, observer) {}
  Anchor(const Anchor&) = delete;
  Anchor& operator=(const Anchor&) = delete;

  pid_t tid() const { return thread_.tid(); }
  /// Seizes it. A failure: nothing was changed.
  Outcome seize();
  /// Stops it for `borrowed`, puts it back as it was, and lets it run on, traced. `saved` tells whether a failure may have left a change.
  std::optional<StepFailure> borrow(const std::function<std::optional<StepFailure>(BorrowedThread&)>& borrowed, const Deadline& deadline, bool& saved);
  /// The same, and lets it go for good.
  std::optional<StepFailure> borrow_and_let_go(const std::function<std::optional<StepFailure>(BorrowedThread&)>& borrowed, const Deadline& deadline);
  /// Hands on what stopped it. ESRCH once it has begun to end: the process is not held any more then but for this last stop.
  Outcome attend();
  std::chrono::microseconds longest_stop() const { return longest_; }

 private:
  std::optional<StepFailure> stop(const Deadline& deadline);
  void note_stop();

  const Process& process_;
  Tracee tracee_;
  BorrowedThread thread_;
  Clock::time_point asked_{};
  std::chrono::microseconds longest_{0};
};

}  // namespace ratchet
