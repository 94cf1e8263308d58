// SPDX-License-Identifier: Apache-2.0
#include "sys/tighten_visit.h"

#include <algorithm>
#include <iterator>

#include "sys/tighten_filters.h"

namespace ratchet {

std::vector<std::size_t> FoundPrograms::places_of(std::span<const std::vector<sock_filter>> filters) {
  const std::lock_guard one_at_a_time(mutex_);
  std::vector<std::size_t> places;
  for (const auto& filter : filters) {
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(filter.data());
    const std::span program(bytes, filter.size() * sizeof(sock_filter));
    const auto known = std::find_if(programs_.begin(), programs_.end(),
                                    [&program](const auto& other) { return std::equal(other.begin(), other.end(), program.begin(), program.end()); });
    places.push_back(static_cast<std::size_t>(known - programs_.begin()));
    if (known == programs_.end()) programs_.emplace_back(program.begin(), program.end());
  }
  return places;
}

Outcome Visitor::visit(std::span<const pid_t> tids, std::size_t at_once) {
  for (const pid_t tid : tids) {
    if (deadline_.passed()) return Failure{ETIMEDOUT, "ptrace"};
    if (const Outcome failed = ask(tid)) return failed;
    if (const Outcome failed = collect(at_once)) return failed;
  }
  return collect(1);
}

Outcome Visitor::visit_again(pid_t tid) {
  std::erase_if(threads_, [tid](const InspectedThread& thread) { return thread.tid == tid; });
  const auto asked = std::find_if(overtaken_.begin(), overtaken_.end(), [tid](const Asked& one) { return one.tracee.tid() == tid; });
  if (asked == overtaken_.end()) {
    if (const Outcome failed = ask(tid)) return failed;
  } else {
    asked->since = Clock::now();
    asked_.splice(asked_.end(), overtaken_, asked);
  }
  return collect(1);
}

void Visitor::add(Visitor& other) {
  std::move(other.threads_.begin(), other.threads_.end(), std::back_inserter(threads_));
  if (unreadable_ == 0) unreadable_ = other.unreadable_;
  longest_stop_ = std::max(longest_stop_, other.longest_stop_);
}

/// Asks the thread to stop, or notes why not.
Outcome Visitor::ask(pid_t tid) {
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

Outcome Visitor::collect(std::size_t most) {
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
Outcome Visitor::read(Asked& asked) {
  asked.programs = read_programs(asked.tracee.tid());
  if (Outcome failed = hide_interruption(asked.tracee, process_)) return failed;
  if (Outcome failed = asked.tracee.detach()) return failed;
  longest_stop_ = std::max(longest_stop_, std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - asked.since));
  return {};
}

/// With what /proc says of it now; nothing of one that is gone.
void Visitor::note(InspectedThread thread) {
  auto task = process_.task(thread.tid);
  if (!task.ok() || task.value().dead()) return;
  thread.name = task.value().name;
  thread.seccomp_mode = task.value().seccomp_mode;
  thread.filters = task.value().filters;
  thread.no_new_privs = task.value().no_new_privs;
  thread.capabilities = task.value().capabilities;
  threads_.push_back(std::move(thread));
}

std::optional<std::vector<std::size_t>> Visitor::read_programs(pid_t tid) {
  if (unreadable_ != 0) return {};
  auto filters = installed_filters(tid);
  if (filters.ok()) return programs_.places_of(filters.value());
  unreadable_ = filters.failure().error;
  return {};
}

}  // namespace ratchet
