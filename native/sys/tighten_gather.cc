// SPDX-License-Identifier: Apache-2.0
#include "sys/tighten_gather.h"

#include <algorithm>
#include <cerrno>

namespace ratchet {

namespace {

/// For how long threads may stand still while others are waited for.
constexpr std::chrono::milliseconds window{20};

bool waits_for_supervisor(const Process& process, const std::vector<pid_t>& tids) {
  return std::any_of(tids.begin(), tids.end(), [&process](pid_t tid) { return process.waits_for_supervisor(tid); });
}

}  // namespace

std::optional<NotInjected> Gathering::stop(const std::vector<pid_t>& named, bool everyone, const Deadline& deadline) {
  for (Backoff backoff;; backoff.pause()) {
    const std::vector<pid_t> tids = everyone ? process_.tasks() : named;
    const pid_t late = awaited_.empty() ? (tids.empty() ? 0 : tids.front()) : awaited_.front().tid();
    if (!process_.alive()) return NotInjected{"process", ESRCH, late, false};
    if (deadline.passed()) return NotInjected{"stop", ETIMEDOUT, late, false};
    // Those that came too late last time; they are let go as they come.
    collect(true);
    let_go();
    if (!awaited_.empty() || waits_for_supervisor(process_, tids)) continue;

    since_ = Clock::now();
    bool complete = false;
    if (const auto refusal = attempt(named, everyone, Deadline(std::min<std::chrono::nanoseconds>(window, deadline.left())), complete)) {
      let_go();
      return refusal;
    }
    if (!complete) {
      let_go();
      continue;
    }
    if (stopped_.empty()) return NotInjected{"process", ESRCH, late, false};
    return {};
  }
}

/// One attempt to have all stand still within the window.
std::optional<NotInjected> Gathering::attempt(const std::vector<pid_t>& named, bool everyone, const Deadline& limit, bool& complete) {
  for (Backoff backoff; !limit.passed(); backoff.pause()) {
    if (awaited_.empty()) {
      if (const auto refusal = seize_new(everyone ? process_.tasks() : named)) return refusal;
      complete = awaited_.empty() && (!everyone || none_missing());
      if (complete) return {};
    }
    collect(!backoff.yielding());
  }
  return {};
}

std::optional<NotInjected> Gathering::seize_new(const std::vector<pid_t>& tids) {
  for (const pid_t tid : tids) {
    if (knows(tid) || process_.kind(tid) != ThreadKind::program) continue;
    Tracee tracee(process_, tid);
    observer_.tell("seize", tid);
    Outcome failed = tracee.seize();
    if (!failed) failed = tracee.interrupt();
    if (!failed) {
      awaited_.push_back(tracee);
    } else if (failed->error != ESRCH) {
      auto task = process_.task(tid);
      if (task.ok() && task.value().tracer != 0) return NotInjected{"traced", EBUSY, tid, false};
      return NotInjected{"seize", failed->error, tid, false};
    }
  }
  return {};
}

/// Moves those that have stopped by now, and forgets those that have ended.
void Gathering::collect(bool look_for_ends) {
  for (auto at = awaited_.begin(); at != awaited_.end();) {
    auto stopped = at->poll_event_stop();
    if (stopped.ok() && !stopped.value() && !(look_for_ends && process_.ending(at->tid()))) {
      ++at;
      continue;
    }
    const auto next = std::next(at);
    if (stopped.ok() && stopped.value()) {
      // At once: were our thread to end now, a call that answers any interruption with EINTR would go on as if nothing had been.
      (void)hide_interruption(*at, process_);
      stopped_.splice(stopped_.end(), awaited_, at);
    } else {
      awaited_.erase(at);
    }
    at = next;
  }
}

bool Gathering::none_missing() const {
  const auto tids = process_.tasks();
  const auto counts = [this](pid_t tid) { return knows(tid) || process_.kernel_worker(tid) || process_.ending(tid); };
  if (!std::all_of(tids.begin(), tids.end(), counts)) return false;
  if (process_.thread_count() != static_cast<long>(tids.size())) return false;
  // One that ended between listing and count would have made room for one that we do not know.
  return std::all_of(tids.begin(), tids.end(), [this](pid_t tid) { return process_.has(tid); });
}

bool Gathering::knows(pid_t tid) const {
  const auto is = [tid](const Tracee& tracee) { return tracee.tid() == tid; };
  return std::any_of(stopped_.begin(), stopped_.end(), is) || std::any_of(awaited_.begin(), awaited_.end(), is);
}

/// Should one of these fail, the end of the tracer thread lets it go.
void Gathering::let_go() {
  for (Tracee& tracee : stopped_) (void)tracee.detach();
  stopped_.clear();
}

}  // namespace ratchet
