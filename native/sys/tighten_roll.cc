// SPDX-License-Identifier: Apache-2.0
#include "sys/tighten_roll.h"

#include <algorithm>

namespace ratchet {

Roll call_roll(const Process& process, const std::function<void()>& meanwhile) {
  Roll roll;
  const auto tids = process.tasks();
  for (const pid_t tid : tids) {
    meanwhile();
    if (auto task = process.task(tid); task.ok() && !task.value().dead()) roll.tasks.push_back(std::move(task.value()));
  }
  roll.complete = process.thread_count() == static_cast<long>(tids.size()) &&
                  std::all_of(tids.begin(), tids.end(), [&process](pid_t tid) { return process.has(tid); });
  return roll;
}

}  // namespace ratchet
