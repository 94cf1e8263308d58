// SPDX-License-Identifier: Apache-2.0
#include <set>

#include "sys/tighten.h"
#include "sys/tighten_thread.h"
#include "sys/tighten_tracee.h"

namespace ratchet {

namespace {

enum class Visit { done, gone, waits };

Result<Visit> visit(const Process& process, pid_t tid, const Deadline& deadline) {
  if (process.ending(tid)) return Visit::gone;
  // It has no user mode to pass through, and makes no calls.
  if (process.kernel_worker(tid)) return Visit::done;
  if (process.waits_for_supervisor(tid)) return Visit::waits;
  const auto judge = [](const Failure& failure) -> Result<Visit> {
    if (failure.error == ESRCH) return Visit::gone;
    // It began to wait for the supervisor in between. It is let go when the tracer thread ends.
    if (failure.error == EBUSY) return Visit::waits;
    return failure;
  };
  Tracee tracee(process, tid);
  if (const Outcome failed = tracee.seize()) return judge(*failed);
  if (const Outcome failed = tracee.interrupt()) return judge(*failed);
  if (const Outcome failed = tracee.wait_event_stop(deadline)) return judge(*failed);
  if (const Outcome failed = hide_interruption(tracee, process)) return judge(*failed);
  if (const Outcome failed = tracee.detach()) return judge(*failed);
  return Visit::done;
}

Result<std::vector<pid_t>> quiesce(const QuiesceOptions& options) {
  const Deadline deadline(options.deadline);
  auto pinned = Process::pin(options.pid, options.pidfd);
  if (!pinned.ok()) return pinned.failure();
  const Process& process = pinned.value();
  std::set<pid_t> visited;
  std::vector<pid_t> waiting;
  // Until a pass finds no thread that was not visited. A number that is used again is a new thread: its calls are all judged by the new filters.
  for (bool found_new = true; found_new;) {
    found_new = false;
    for (const pid_t tid : process.tasks()) {
      if (!visited.insert(tid).second) continue;
      found_new = true;
      if (deadline.passed()) return Failure{ETIMEDOUT, "ptrace"};
      auto result = visit(process, tid, deadline);
      if (!result.ok()) return result.failure();
      if (result.value() == Visit::waits) waiting.push_back(tid);
    }
  }
  if (!process.alive()) return Failure{ESRCH, "pidfd"};
  return waiting;
}

}  // namespace

Result<std::vector<pid_t>> quiesce_threads(const QuiesceOptions& options) {
  auto outcome = on_tracer_thread([&options] { return quiesce(options); });
  if (!outcome.ok()) return outcome.failure();
  return outcome.value();
}

}  // namespace ratchet
