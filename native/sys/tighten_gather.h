// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <list>
#include <optional>
#include <span>
#include <vector>

#include "sys/tighten.h"
#include "sys/tighten_tracee.h"

namespace ratchet {

/// Stops several threads, so that they stand still together.
///
/// For a whole process the proof that none is missing is the kernel's: it counts the threads of a process under the lock under which it
/// adds and removes them. When all that we know of stand still, none of them can make another; if their number (with those that have
/// begun to end, and the kernel's own workers) is the kernel's, there is no other. A listing of /proc/PID/task alone proves less:
/// it ends early when the thread that it has reached ends.
class Gathering {
 public:
  Gathering(const Process& process, const StepObserver& observer) : process_(process), observer_(observer) {}
  Gathering(const Gathering&) = delete;
  Gathering& operator=(const Gathering&) = delete;

  /// Stops all threads of the process, or those that are named (and not gone). Threads that wait for the seccomp supervisor are waited for
  /// while all run, and what cannot be stopped in a moment has all let go again before the next attempt. On a refusal all run.
  std::optional<NotInjected> stop(const std::vector<pid_t>& named, bool everyone, const Deadline& deadline);

  /// After stop(): all at event stops, in the order of the process's listing.
  std::list<Tracee>& threads() { return stopped_; }
  Clock::time_point since() const { return since_; }
  /// Lets all go as they were found.
  void let_go();

 private:
  std::optional<NotInjected> attempt(const std::vector<pid_t>& named, bool everyone, const Deadline& limit, bool& complete);
  std::optional<NotInjected> seize_new(const std::vector<pid_t>& tids);
  void collect(bool look_for_ends);
  bool none_missing() const;
  bool knows(pid_t tid) const;

  const Process& process_;
  const StepObserver& observer_;
  std::list<Tracee> stopped_;
  /// Asked to stop.
  std::list<Tracee> awaited_;
  Clock::time_point since_{};
};

}  // namespace ratchet
