// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <set>

#include "sys/tighten.h"
#include "sys/tighten_filters.h"
#include "sys/tighten_thread.h"
#include "sys/tighten_tracee.h"

namespace ratchet {

namespace {

class Inspector {
 public:
  Inspector(const InspectOptions& options, const Process& process)
      : process_(process), deadline_(options.deadline), patience_(options.patience) {}

  Result<Inspection> run();

 private:
  std::optional<Failure> pass(std::set<pid_t>& visited, bool& found_new);
  /// Nothing when the thread is gone.
  Result<std::optional<InspectedThread>> inspect(pid_t tid);
  Outcome stop_and_read(Tracee& tracee, InspectedThread& thread);
  std::optional<std::vector<std::size_t>> read_programs(pid_t tid);

  const Process& process_;
  Deadline deadline_;
  Deadline patience_;
  Inspection found_;
};

Result<Inspection> Inspector::run() {
  std::set<pid_t> visited;
  // Until a pass finds no thread that was not visited. A number that is used again is a new thread: its calls are all judged by the new filters.
  for (bool found_new = true; found_new;) {
    found_new = false;
    if (const Outcome failed = pass(visited, found_new)) return *failed;
  }
  auto& threads = found_.threads;
  const auto waits = [](const InspectedThread& thread) { return thread.visit == Visit::waiting; };
  for (Backoff backoff; !patience_.passed() && std::any_of(threads.begin(), threads.end(), waits); backoff.pause()) {
    for (auto thread = threads.begin(); thread != threads.end();) {
      if (!waits(*thread) || process_.waits_for_supervisor(thread->tid)) {
        ++thread;
        continue;
      }
      auto again = inspect(thread->tid);
      if (!again.ok()) return again.failure();
      if (again.value()) *thread++ = std::move(*again.value());
      else thread = threads.erase(thread);
    }
  }
  if (!process_.alive()) return Failure{ESRCH, "pidfd"};
  return std::move(found_);
}

std::optional<Failure> Inspector::pass(std::set<pid_t>& visited, bool& found_new) {
  for (const pid_t tid : process_.tasks()) {
    if (!visited.insert(tid).second) continue;
    found_new = true;
    if (deadline_.passed()) return Failure{ETIMEDOUT, "ptrace"};
    auto thread = inspect(tid);
    if (!thread.ok()) return thread.failure();
    if (thread.value()) found_.threads.push_back(std::move(*thread.value()));
  }
  return {};
}

Result<std::optional<InspectedThread>> Inspector::inspect(pid_t tid) {
  if (process_.ending(tid)) return std::optional<InspectedThread>();
  InspectedThread thread;
  thread.tid = tid;
  Tracee tracee(process_, tid);
  if (process_.kernel_worker(tid)) {
    thread.visit = Visit::kernel;
  } else if (process_.waits_for_supervisor(tid)) {
    thread.visit = Visit::waiting;
  } else if (const Outcome failed = stop_and_read(tracee, thread)) {
    if (failed->error == ESRCH) return std::optional<InspectedThread>();
    // It began to wait for the supervisor in between. It is let go when the tracer thread ends.
    if (failed->error == EBUSY) thread.visit = Visit::waiting;
    else if (failed->error == EPERM || failed->error == EACCES) thread.visit = Visit::refused;
    else return *failed;
  }
  auto task = process_.task(tid);
  if (!task.ok() || task.value().dead()) return std::optional<InspectedThread>();
  thread.name = task.value().name;
  thread.seccomp_mode = task.value().seccomp_mode;
  thread.filters = task.value().filters;
  thread.no_new_privs = task.value().no_new_privs;
  return std::optional(std::move(thread));
}

Outcome Inspector::stop_and_read(Tracee& tracee, InspectedThread& thread) {
  if (Outcome failed = tracee.seize()) return failed;
  const auto asked = Clock::now();
  if (Outcome failed = tracee.interrupt()) return failed;
  if (Outcome failed = tracee.wait_event_stop(deadline_)) return failed;
  thread.programs = read_programs(tracee.tid());
  if (Outcome failed = hide_interruption(tracee, process_)) return failed;
  if (Outcome failed = tracee.detach()) return failed;
  thread.visit = Visit::stopped;
  found_.longest_stop = std::max(found_.longest_stop, std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - asked));
  return {};
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
