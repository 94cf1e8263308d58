// SPDX-License-Identifier: Apache-2.0
#include "sys/tighten_anchor.h"

#include <signal.h>
#include <sys/ptrace.h>

#include <algorithm>

namespace ratchet {

Outcome Anchor::seize() { return tracee_.seize(); }

std::optional<StepFailure> Anchor::borrow(const std::function<std::optional<StepFailure>(BorrowedThread&)>& borrowed, const Deadline& deadline,
                                          bool& saved) {
  saved = false;
  if (const auto failure = stop(deadline)) return failure;
  (void)hide_interruption(tracee_, process_);
  if (const Outcome foreign = thread_.why_unusable()) return StepFailure{"architecture", foreign->error};
  if (const auto failure = thread_.save(PTRACE_O_TRACEEXIT)) return failure;
  saved = true;
  const auto failure = borrowed(thread_);
  if (failure) return failure;
  if (const auto loss = thread_.put_back_at_event(deadline)) return loss;
  note_stop();
  if (const Outcome lost = tracee_.run_on()) return StepFailure{"restore", lost->error};
  return {};
}

std::optional<StepFailure> Anchor::borrow_and_let_go(const std::function<std::optional<StepFailure>(BorrowedThread&)>& borrowed, const Deadline& deadline) {
  if (const auto failure = stop(deadline)) return failure;
  if (const auto failure = thread_.save(PTRACE_O_TRACEEXIT)) return failure;
  if (const auto failure = borrowed(thread_)) return failure;
  if (const auto loss = thread_.put_back(deadline)) return loss;
  note_stop();
  return thread_.let_go();
}

Outcome Anchor::attend() {
  for (;;) {
    auto stop = tracee_.poll();
    if (!stop.ok()) return stop.failure();
    if (!stop.value()) return {};
    if (stop.value()->kind == StopKind::exit) return Failure{ESRCH, "waitid"};
    Outcome failed;
    if (stop.value()->kind == StopKind::event) failed = tracee_.run_on(stop.value()->signal);
    else failed = tracee_.resume(PTRACE_CONT, stop.value()->signal);
    if (failed) return failed;
  }
}

/// It may wait for the seccomp supervisor: then until that has answered.
std::optional<StepFailure> Anchor::stop(const Deadline& deadline) {
  asked_ = Clock::now();
  Outcome failed = tracee_.interrupt();
  for (Backoff backoff; !failed; backoff.pause()) {
    failed = tracee_.wait_event_stop(deadline);
    if (!failed) return {};
    if (failed->error == EBUSY && !deadline.passed()) failed = {};
    asked_ = Clock::now();
  }
  return StepFailure{"stop", failed->error == EBUSY ? ETIMEDOUT : failed->error};
}

void Anchor::note_stop() {
  longest_ = std::max(longest_, std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - asked_));
}

}  // namespace ratchet
