// SPDX-License-Identifier: Apache-2.0
#include "sys/tighten_roll.h"

#include <algorithm>
#include <map>

namespace ratchet {

namespace {

/// Where threads come all the time, there is always a new one to look at: then it is better to begin anew.
constexpr int most_listings = 8;

}  // namespace

Roll call_roll(const Process& process, const std::function<void()>& meanwhile) {
  std::map<pid_t, std::optional<Task>> known;
  bool found_new = true;
  // The last listing, which finds nobody new, costs so little that in most programs nothing happens between it and the count.
  for (int listings = 0; found_new && listings < most_listings; listings++) {
    found_new = false;
    for (const pid_t tid : process.tasks()) {
      if (known.contains(tid)) continue;
      found_new = true;
      meanwhile();
      auto task = process.task(tid);
      known[tid] = task.ok() ? std::optional(std::move(task.value())) : std::nullopt;
    }
  }
  Roll roll;
  const long counted = process.thread_count();
  const auto there = [&process](const auto& entry) { return process.has(entry.first); };
  roll.complete = std::count_if(known.begin(), known.end(), there) == counted;
  for (auto& [tid, task] : known)
    if (task && !task->dead()) roll.tasks.push_back(std::move(*task));
  return roll;
}

}  // namespace ratchet
