// SPDX-License-Identifier: Apache-2.0
// Which threads of a process still lack a filter that each of them has to install by itself, told by the number of their filters.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "sys/tighten_process.h"

namespace ratchet {

struct Roll {
  /// Threads that run program code.
  std::vector<Task> tasks;
  /// No thread was missing at one moment after all of these were looked at. The kernel counts the threads of a process under the lock under which it
  /// adds and removes them: when as many as it counted are still there afterwards, of those that were looked at before, there was no other. A
  /// listing of /proc/PID/task alone proves less: it ends early when the thread that it has reached ends.
  bool complete = false;
};

/// `meanwhile` is called between threads.
Roll call_roll(const Process& process, const std::function<void()>& meanwhile);

}  // namespace ratchet
