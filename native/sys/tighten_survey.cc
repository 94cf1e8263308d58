// SPDX-License-Identifier: Apache-2.0
#include "sys/tighten_survey.h"

#include <algorithm>
#include <cerrno>

namespace ratchet {

std::optional<NotInjected> Survey::run(std::vector<pid_t> tids, const Deadline& deadline) {
  for (Backoff backoff;; backoff.pause()) {
    // One at a time; those that wait for the supervisor come later.
    while (asked_.empty()) {
      const auto next = std::find_if(tids.begin(), tids.end(), [this](pid_t tid) { return !process_.waits_for_supervisor(tid); });
      if (next == tids.end()) break;
      const pid_t tid = *next;
      tids.erase(next);
      if (process_.kind(tid) != ThreadKind::program) continue;
      if (const auto refusal = ask(tid)) return refusal;
      backoff = Backoff();
    }
    if (const auto refusal = collect()) return refusal;
    if (!asked_.empty()) {
      if (!backoff.yielding() && process_.ending(asked_.front().tracee.tid())) asked_.clear();
    } else if (tids.empty()) {
      if (!seen_any_) return NotInjected{"process", ESRCH, 0, false};
      return {};
    }
    if (deadline.passed()) return NotInjected{"stop", ETIMEDOUT, asked_.empty() ? tids.front() : asked_.front().tracee.tid(), false};
    if (!process_.alive()) return NotInjected{"process", ESRCH, asked_.empty() ? 0 : asked_.front().tracee.tid(), false};
  }
}

std::optional<NotInjected> Survey::ask(pid_t tid) {
  Tracee tracee(process_, tid);
  observer_.tell("seize", tid);
  Outcome failed = tracee.seize();
  const auto since = Clock::now();
  if (!failed) failed = tracee.interrupt();
  if (failed) return why_not_seized(process_, tid, *failed);
  asked_.push_back({tracee, since});
  return {};
}

std::optional<NotInjected> Survey::collect() {
  for (auto asked = asked_.begin(); asked != asked_.end();) {
    auto stopped = asked->tracee.poll_event_stop();
    if (stopped.ok() && !stopped.value()) {
      ++asked;
      continue;
    }
    if (stopped.ok())
      if (const auto refusal = let_go_after_look(*asked)) return refusal;
    asked = asked_.erase(asked);
  }
  return {};
}

/// Should letting go fail, the end of our thread does it.
std::optional<NotInjected> Survey::let_go_after_look(Asked& asked) {
  seen_any_ = true;
  // At once: were our thread to end now, a call that answers any interruption with EINTR would go on as if nothing had been.
  (void)hide_interruption(asked.tracee, process_);
  const auto refusal = look_(asked.tracee);
  (void)asked.tracee.detach();
  longest_ = std::max(longest_, std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - asked.since));
  return refusal;
}

std::optional<NotInjected> why_not_seized(const Process& process, pid_t tid, const Failure& failure) {
  if (failure.error == ESRCH) return {};
  auto task = process.task(tid);
  if (task.ok() && task.value().tracer != 0) return NotInjected{"traced", EBUSY, tid, false};
  return NotInjected{"seize", failure.error, tid, false};
}

}  // namespace ratchet
