// SPDX-License-Identifier: Apache-2.0
#include "sys/tighten.h"
#include "sys/tighten_filters.h"
#include "sys/tighten_thread.h"
#include "sys/tighten_tracee.h"

namespace ratchet {

namespace {

using Programs = std::vector<std::vector<std::uint8_t>>;

Result<Programs> read_programs(pid_t tid, const Deadline& deadline) {
  auto found = Process::of_thread(tid);
  if (!found.ok()) return found.failure();
  const Process& process = found.value();
  // Interrupting a thread in that wait would show its supervisor the same call twice.
  for (Backoff backoff; process.waits_for_supervisor(tid); backoff.pause())
    if (deadline.passed()) return Failure{ETIMEDOUT, "ptrace"};
  Tracee tracee(process, tid);
  if (const Outcome failed = tracee.seize()) return *failed;
  if (const Outcome failed = tracee.interrupt()) return *failed;
  if (const Outcome failed = tracee.wait_event_stop(deadline)) return *failed;
  auto filters = installed_filters(tid);
  if (const Outcome failed = hide_interruption(tracee, process)) return *failed;
  if (const Outcome failed = tracee.detach()) return *failed;
  if (!filters.ok()) return filters.failure();
  Programs programs;
  for (const auto& filter : filters.value()) {
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(filter.data());
    programs.emplace_back(bytes, bytes + filter.size() * sizeof(sock_filter));
  }
  return programs;
}

}  // namespace

Result<std::vector<std::vector<std::uint8_t>>> read_filters(pid_t tid, std::chrono::milliseconds deadline) {
  auto outcome = on_tracer_thread([tid, deadline] { return read_programs(tid, Deadline(deadline)); });
  if (!outcome.ok()) return outcome.failure();
  return outcome.value();
}

}  // namespace ratchet
