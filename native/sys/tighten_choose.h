// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <list>
#include <vector>

#include "sys/result.h"
#include "sys/tighten.h"
#include "sys/tighten_tracee.h"

namespace ratchet {

/// A thread at an event stop, and when it was asked to stop.
struct Chosen {
  Tracee* tracee = nullptr;
  Clock::time_point asked{};
};

/// Stops one thread of the process that can carry a call: the first, in the order of `tids`, that stops in its share of the time.
/// Threads that wait for the seccomp supervisor are passed over while others are left: interrupting them would have the supervisor see
/// their call twice, and after it has received it (WAIT_KILLABLE_RECV) they do not stop at all.
class Choice {
 public:
  Choice(const Process& process, const StepObserver& observer) : process_(process), observer_(observer) {}
  Choice(const Choice&) = delete;
  Choice& operator=(const Choice&) = delete;
  /// Lets those go that stopped too late to be chosen. The chosen one is its user's to let go.
  ~Choice();

  /// On a refusal nothing has changed; what was seized meanwhile is let go when the tracer thread ends.
  std::variant<Chosen, NotInjected> stop_one(const std::vector<pid_t>& tids, const Deadline& deadline);

 private:
  struct Candidate {
    Tracee tracee;
    Clock::time_point asked;
  };

  void let_go(Tracee& tracee);

  const Process& process_;
  const StepObserver& observer_;
  /// A list: the chosen tracee must stay where it is.
  std::list<Candidate> seized_;
  pid_t chosen_ = 0;
};

}  // namespace ratchet
