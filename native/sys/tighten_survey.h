// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <list>
#include <optional>
#include <vector>

#include "sys/tighten.h"
#include "sys/tighten_tracee.h"

namespace ratchet {

/// Stops threads for a look, one after the other, and lets each go again: what would not be possible is found before anything is changed.
class Survey {
 public:
  /// At an event stop. What it gives is the survey's refusal.
  using Look = std::function<std::optional<NotInjected>(Tracee&)>;

  Survey(const Process& process, const StepObserver& observer, Look look) : process_(process), observer_(observer), look_(std::move(look)) {}

  /// Threads that wait for the seccomp supervisor are waited for. ETIMEDOUT names one that did not stop; ESRCH when all are gone.
  std::optional<NotInjected> run(std::vector<pid_t> tids, const Deadline& deadline);
  std::chrono::microseconds longest_stop() const { return longest_; }

 private:
  struct Asked {
    Tracee tracee;
    Clock::time_point since;
  };

  std::optional<NotInjected> ask(pid_t tid);
  std::optional<NotInjected> collect();
  std::optional<NotInjected> let_go_after_look(Asked& asked);

  const Process& process_;
  const StepObserver& observer_;
  Look look_;
  std::list<Asked> asked_;
  bool seen_any_ = false;
  std::chrono::microseconds longest_{0};
};

/// Why a thread could not be seized. Nothing when it is gone, which is no reason.
std::optional<NotInjected> why_not_seized(const Process& process, pid_t tid, const Failure& failure);

}  // namespace ratchet
