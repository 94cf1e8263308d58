// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <list>
#include <set>

#include "sys/tighten.h"
#include "sys/tighten_filters.h"
#include "sys/tighten_thread.h"
#include "sys/tighten_tracee.h"

namespace ratchet {

namespace {

/// Threads that are on their way to a stop at one time: while one wakes up, another is read. Each stands still a little longer for it, and all
/// together far shorter.
constexpr std::size_t at_once = 2;

class Inspector {
 public:
  Inspector(const InspectOptions& options, const Process& process)
      : process_(process), deadline_(options.deadline), patience_(options.patience) {}

  Result<Inspection> run();

 private:
  struct Asked {
    Tracee tracee;
    Clock::time_point since;
    std::optional<std::vector<std::size_t>> programs = {};
  };

  Outcome pass(std::set<pid_t>& visited, bool& found_new);
  Outcome revisit_waiting();
  Outcome ask(pid_t tid);
  Outcome ask_again(pid_t tid);
  /// Until fewer than `most` are on their way.
  Outcome collect(std::size_t most);
  Outcome read(Asked& asked);
  void note(InspectedThread thread);
  std::optional<std::vector<std::size_t>> read_programs(pid_t tid);

  const Process& process_;
  Deadline deadline_;
  Deadline patience_;
  std::list<Asked> asked_;
  /// Were asked, and wait for the supervisor first.
  std::list<Asked> overtaken_;
  Inspection found_;
};

Result<Inspection> Inspector::run() {
  std::set<pid_t> visited;
  // Until a pass finds no thread that was not visited. A number that is used again is a new thread: its calls are all judged by the new filters.
  for (bool found_new = true; found_new;) {
    found_new = false;
    if (const Outcome failed = pass(visited, found_new)) return *failed;
  }
  if (const Outcome failed = revisit_waiting()) return *failed;
  if (!process_.alive()) return Failure{ESRCH, "pidfd"};
  return std::move(found_);
}

Outcome Inspector::pass(std::set<pid_t>& visited, bool& found_new) {
  for (const pid_t tid : process_.tasks()) {
    if (!visited.insert(tid).second) continue;
    found_new = true;
    if (deadline_.passed()) return Failure{ETIMEDOUT, "ptrace"};
    if (const Outcome failed = ask(tid)) return failed;
    if (const Outcome failed = collect(at_once)) return failed;
  }
  return collect(1);
}

Outcome Inspector::revisit_waiting() {
  auto& threads = found_.threads;
  const auto waits = [](const InspectedThread& thread) { return thread.visit == Visit::waiting; };
  for (Backoff backoff; !patience_.passed(); backoff.pause()) {
    std::vector<pid_t> again;
    for (const InspectedThread& thread : threads)
      if (waits(thread) && !process_.waits_for_supervisor(thread.tid)) again.push_back(thread.tid);
    for (const pid_t tid : again) {
      std::erase_if(threads, [tid](const InspectedThread& thread) { return thread.tid == tid; });
      Outcome failed = ask_again(tid);
      if (!failed) failed = collect(1);
      if (failed) return failed;
    }
    if (std::none_of(threads.begin(), threads.end(), waits)) return {};
  }
  return {};
}

/// Asks the thread to stop, or notes why not.
Outcome Inspector::ask(pid_t tid) {
  const ThreadKind kind = process_.kind(tid);
  if (kind == ThreadKind::ending) return {};
  if (kind == ThreadKind::kernel) {
    note({.tid = tid, .visit = Visit::kernel});
    return {};
  }
  if (process_.waits_for_supervisor(tid)) {
    note({.tid = tid, .visit = Visit::waiting});
    return {};
  }
  Tracee tracee(process_, tid);
  Outcome failed = tracee.seize();
  const auto since = Clock::now();
  if (!failed) failed = tracee.interrupt();
  if (!failed) {
    asked_.push_back({tracee, since});
    return {};
  }
  if (failed->error == ESRCH) return {};
  if (failed->error != EPERM && failed->error != EACCES) return failed;
  note({.tid = tid, .visit = Visit::refused});
  return {};
}

Outcome Inspector::ask_again(pid_t tid) {
  const auto asked = std::find_if(overtaken_.begin(), overtaken_.end(), [tid](const Asked& one) { return one.tracee.tid() == tid; });
  if (asked == overtaken_.end()) return ask(tid);
  asked->since = Clock::now();
  asked_.splice(asked_.end(), overtaken_, asked);
  return {};
}

Outcome Inspector::collect(std::size_t most) {
  for (Backoff backoff; asked_.size() >= most; backoff.pause()) {
    for (auto asked = asked_.begin(); asked != asked_.end();) {
      const pid_t tid = asked->tracee.tid();
      auto stopped = asked->tracee.poll_event_stop();
      Outcome failed = stopped.ok() ? Outcome() : Outcome(stopped.failure());
      const bool stands = stopped.ok() && stopped.value();
      if (stands) failed = read(*asked);
      const bool late = !stands && !failed && !backoff.yielding();
      if (late && process_.ending(tid)) failed = Failure{ESRCH, "waitid"};
      // It began to wait for the supervisor in between, and stops when that has answered. Until our thread ends it stays seized.
      const bool waits = late && !failed && process_.waits_for_supervisor(tid);
      if (failed && failed->error != ESRCH) return failed;
      if (!failed && !stands && !waits) {
        if (late && deadline_.passed()) return Failure{ETIMEDOUT, "waitid"};
        ++asked;
        continue;
      }
      const auto next = std::next(asked);
      if (!failed) note({.tid = tid, .visit = stands ? Visit::stopped : Visit::waiting, .programs = std::move(asked->programs)});
      if (waits) overtaken_.splice(overtaken_.end(), asked_, asked);
      else asked_.erase(asked);
      asked = next;
      backoff = Backoff();
    }
    if (asked_.size() < most) return {};
  }
  return {};
}

/// At an event stop, which it ends.
Outcome Inspector::read(Asked& asked) {
  asked.programs = read_programs(asked.tracee.tid());
  if (Outcome failed = hide_interruption(asked.tracee, process_)) return failed;
  if (Outcome failed = asked.tracee.detach()) return failed;
  found_.longest_stop = std::max(found_.longest_stop, std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - asked.since));
  return {};
}

/// With what /proc says of it now; nothing of one that is gone.
void Inspector::note(InspectedThread thread) {
  auto task = process_.task(thread.tid);
  if (!task.ok() || task.value().dead()) return;
  thread.name = task.value().name;
  thread.seccomp_mode = task.value().seccomp_mode;
  thread.filters = task.value().filters;
  thread.no_new_privs = task.value().no_new_privs;
  thread.capabilities = task.value().capabilities;
  found_.threads.push_back(std::move(thread));
}

std::optional<std::vector<std::size_t>> Inspector::read_programs(pid_t tid) {
  if (found_.unreadable != 0) return {};
  auto filters = installed_filters(tid);
  if (!filters.ok()) {
    found_.unreadable = filters.failure().error;
    return {};
  }
  std::vector<std::size_t> places;
  for (const auto& filter : filters.value()) {
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(filter.data());
    const std::span program(bytes, filter.size() * sizeof(sock_filter));
    const auto known = std::find_if(found_.programs.begin(), found_.programs.end(),
                                    [&program](const auto& other) { return std::equal(other.begin(), other.end(), program.begin(), program.end()); });
    places.push_back(static_cast<std::size_t>(known - found_.programs.begin()));
    if (known == found_.programs.end()) found_.programs.emplace_back(program.begin(), program.end());
  }
  return places;
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
