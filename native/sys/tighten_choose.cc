// SPDX-License-Identifier: Apache-2.0
#include "sys/tighten_choose.h"

#include <algorithm>

#include "sys/tighten_borrow.h"

namespace ratchet {

std::variant<Chosen, NotInjected> Choice::stop_one(const std::vector<pid_t>& tids, const Deadline& deadline) {
  std::vector<pid_t> untried(tids);
  // io_uring and vhost workers get the filter with the rest, but cannot carry a call.
  const auto candidate = [this](pid_t tid) { return !process_.kernel_worker(tid) && !process_.waits_for_supervisor(tid); };
  std::optional<NotInjected> refusal;
  Backoff backoff;
  std::optional<Deadline> share;
  for (;;) {
    for (auto candidate = seized_.begin(); candidate != seized_.end();) {
      auto stopped = candidate->tracee.poll_event_stop();
      if (stopped.ok() && !stopped.value() && !backoff.yielding() &&
          process_.ending(candidate->tracee.tid()))
        stopped = Failure{ESRCH, "waitid"};
      if (stopped.ok() && !stopped.value()) {
        ++candidate;
        continue;
      }
      if (stopped.ok()) {
        if (!why_no_calls(candidate->tracee)) {
          chosen_ = candidate->tracee.tid();
          return Chosen{&candidate->tracee, candidate->asked};
        }
        let_go(candidate->tracee);
        refusal = NotInjected{"architecture", ENOEXEC, candidate->tracee.tid(), false};
      }
      candidate = seized_.erase(candidate);
      share.reset();
    }
    if (deadline.passed()) {
      const pid_t tid = tids.empty() ? 0 : tids.front();
      return refusal.value_or(NotInjected{"stop", ETIMEDOUT, tid, false});
    }
    if (!share || share->passed()) {
      const auto next = std::find_if(untried.begin(), untried.end(), candidate);
      if (next != untried.end()) {
        const pid_t tid = *next;
        untried.erase(next);
        Tracee tracee(process_, tid);
        observer_.tell("seize", tid);
        Outcome failed = tracee.seize();
        const auto asked = Clock::now();
        if (!failed) failed = tracee.interrupt();
        if (!failed) {
          seized_.push_back({tracee, asked});
          share = deadline.share(4);
          backoff = Backoff();
          continue;
        }
        // Of another owner, not dumpable, or already traced: no other thread of the process would be any different.
        if (failed->error == EPERM || failed->error == EACCES) return NotInjected{"seize", failed->error, tid, false};
        continue;
      }
      if (untried.empty() && seized_.empty()) return refusal.value_or(NotInjected{"process", ESRCH, tids.empty() ? 0 : tids.front(), false});
    }
    backoff.pause();
  }
}

Choice::~Choice() {
  for (auto& [tracee, asked] : seized_)
    if (tracee.tid() != chosen_)
      if (auto stopped = tracee.poll_event_stop(); stopped.ok() && stopped.value()) let_go(tracee);
}

/// At an event stop. Should one of these fail, the end of the tracer thread lets it go.
void Choice::let_go(Tracee& tracee) {
  (void)hide_interruption(tracee, process_);
  (void)tracee.detach();
}

}  // namespace ratchet
