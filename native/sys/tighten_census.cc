// SPDX-License-Identifier: Apache-2.0
#include "sys/tighten_census.h"

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <span>

#include "sys/tighten_thread.h"

namespace ratchet {

namespace {

std::optional<NotInjected> unequal(const std::vector<Task>& tasks) {
  const auto refused = [](const char* step, int error, const Task& task) { return NotInjected{step, error, task.tid, false}; };
  for (const Task& task : tasks) {
    if (task.tracer != 0) return refused("traced", EBUSY, task);
    if (task.seccomp_mode == 1) return refused("seccomp", EINVAL, task);
    if (task.filters < 0) return refused("verify", ENOSYS, task);
    if (task.filters != tasks.front().filters) return refused("tsync", ESRCH, task);
  }
  return {};
}

std::vector<Task> tasks_of(const Process& process, std::span<const pid_t> tids) {
  std::vector<Task> tasks;
  for (const pid_t tid : tids)
    if (auto found = process.task(tid); found.ok() && !found.value().dead()) tasks.push_back(std::move(found.value()));
  return tasks;
}

/// The first half beside the other, where there are many: the kernel takes some 10 us to tell of each.
std::vector<Task> living_tasks(const Process& process) {
  const std::vector<pid_t> tids = process.tasks();
  const std::span all(tids);
  const std::size_t half = tids.size() < worth_sharing ? 0 : tids.size() / 2;
  std::vector<Task> tasks;
  std::vector<Task> others;
  const auto beside = [&] { tasks = tasks_of(process, all.first(half)); };
  if (half == 0 || !beside_this_thread(beside, [&] { others = tasks_of(process, all.subspan(half)); })) return tasks_of(process, all);
  std::move(others.begin(), others.end(), std::back_inserter(tasks));
  return tasks;
}

}  // namespace

std::optional<NotInjected> take_census(const Process& process, pid_t pid, std::vector<pid_t>& living) {
  std::vector<Task> tasks = living_tasks(process);
  auto refusal = unequal(tasks);
  if (refusal) {
    // A thread that has begun to end has given its filters back.
    std::erase_if(tasks, [&process](const Task& task) { return process.ending(task.tid); });
    refusal = unequal(tasks);
  }
  if (refusal) return refusal;
  if (tasks.empty()) return NotInjected{"process", ESRCH, pid, false};
  for (const Task& task : tasks) living.push_back(task.tid);
  return {};
}

}  // namespace ratchet
