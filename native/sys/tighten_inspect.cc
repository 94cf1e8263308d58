// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <set>
#include <span>

#include "sys/tighten.h"
#include "sys/tighten_thread.h"
#include "sys/tighten_visit.h"

namespace ratchet {

namespace {

/// Threads that are on their way to a stop at one time. While one wakes up, another is read: each stands still a little longer for it, and all
/// together far shorter.
constexpr std::size_t at_once = 2;

class Inspector {
 public:
  Inspector(const InspectOptions& options, const Process& process)
      : process_(process), deadline_(options.deadline), patience_(options.patience), visitor_(process, deadline_, programs_) {}

  Result<Inspection> run();

 private:
  Outcome pass(std::span<const pid_t> tids);
  Outcome revisit_waiting();

  const Process& process_;
  Deadline deadline_;
  Deadline patience_;
  FoundPrograms programs_;
  Visitor visitor_;
};

Result<Inspection> Inspector::run() {
  std::set<pid_t> visited;
  // Until a listing has no thread that was not visited. A number that is used again is a new thread: its calls are all judged by the new filters.
  for (;;) {
    std::vector<pid_t> tids;
    for (const pid_t tid : process_.tasks())
      if (visited.insert(tid).second) tids.push_back(tid);
    if (tids.empty()) break;
    if (const Outcome failed = pass(tids)) return *failed;
  }
  if (const Outcome failed = revisit_waiting()) return *failed;
  if (!process_.alive()) return Failure{ESRCH, "pidfd"};
  return Inspection{std::move(visitor_.threads()), programs_.take(), visitor_.unreadable(), visitor_.longest_stop()};
}

Outcome Inspector::pass(std::span<const pid_t> tids) {
  if (tids.size() < worth_sharing) return visitor_.visit(tids, at_once);
  const std::size_t half = tids.size() / 2;
  Visitor other(process_, deadline_, programs_);
  Outcome failed;
  Outcome failed_beside;
  // Together they have as many threads on their way to a stop as one alone.
  const auto beside = [&] { failed_beside = other.visit(tids.subspan(half), at_once / 2); };
  if (!beside_this_thread(beside, [&] { failed = visitor_.visit(tids.first(half), at_once / 2); })) beside();
  visitor_.add(other);
  return failed ? failed : failed_beside;
}

Outcome Inspector::revisit_waiting() {
  const auto waits = [](const InspectedThread& thread) { return thread.visit == Visit::waiting; };
  for (Backoff backoff; !patience_.passed(); backoff.pause()) {
    const auto& threads = visitor_.threads();
    std::vector<pid_t> again;
    for (const InspectedThread& thread : threads)
      if (waits(thread) && !process_.waits_for_supervisor(thread.tid)) again.push_back(thread.tid);
    for (const pid_t tid : again)
      if (const Outcome failed = visitor_.visit_again(tid)) return failed;
    if (std::none_of(threads.begin(), threads.end(), waits)) return {};
  }
  return {};
}

}  // namespace

Result<Inspection> inspect_threads(const InspectOptions& options) {
  auto outcome = on_tracer_thread([&options]() -> Result<Inspection> {
    auto process = Process::pin(options.pid, options.pidfd);
    if (!process.ok()) return process.failure();
    return Inspector(options, process.value()).run();
  });
  if (!outcome.ok()) return outcome.failure();
  return std::move(outcome.value());
}

}  // namespace ratchet
