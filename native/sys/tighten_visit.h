// SPDX-License-Identifier: Apache-2.0
// One tracer's part of an inspection: stops threads for a moment and reads their filters.
#pragma once

#include <linux/filter.h>

#include <list>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "sys/tighten.h"
#include "sys/tighten_tracee.h"

namespace ratchet {

/// The programs that are installed on any thread, each once. Several tracers add to it.
class FoundPrograms {
 public:
  /// The places of these.
  std::vector<std::size_t> places_of(std::span<const std::vector<sock_filter>> filters);
  std::vector<std::vector<std::uint8_t>> take() { return std::move(programs_); }

 private:
  std::mutex mutex_;
  std::vector<std::vector<std::uint8_t>> programs_;
};

class Visitor {
 public:
  Visitor(const Process& process, const Deadline& deadline, FoundPrograms& programs) : process_(process), deadline_(deadline), programs_(programs) {}

  /// Each of these once, so many on their way to a stop at one time. ETIMEDOUT when one could not be stopped.
  Outcome visit(std::span<const pid_t> tids, std::size_t at_once);
  /// One that was `waiting`, and waits no more.
  Outcome visit_again(pid_t tid);
  /// What another visitor has seen, whose tracer has ended: it has let go of those that it was still waiting for.
  void add(Visitor& other);

  std::vector<InspectedThread>& threads() { return threads_; }
  /// As in Inspection.
  int unreadable() const { return unreadable_; }
  std::chrono::microseconds longest_stop() const { return longest_stop_; }

 private:
  struct Asked {
    Tracee tracee;
    Clock::time_point since;
    std::optional<std::vector<std::size_t>> programs = {};
  };

  Outcome ask(pid_t tid);
  /// Until fewer than `most` are on their way.
  Outcome collect(std::size_t most);
  Outcome read(Asked& asked);
  void note(InspectedThread thread);
  std::optional<std::vector<std::size_t>> read_programs(pid_t tid);

  const Process& process_;
  const Deadline& deadline_;
  FoundPrograms& programs_;
  std::list<Asked> asked_;
  /// Were asked, and wait for the supervisor first.
  std::list<Asked> overtaken_;
  std::vector<InspectedThread> threads_;
  int unreadable_ = 0;
  std::chrono::microseconds longest_stop_{0};
};

}  // namespace ratchet
