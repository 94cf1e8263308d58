// SPDX-License-Identifier: Apache-2.0
#include "sys/tighten_census.h"

#include <cerrno>

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

}  // namespace

std::optional<NotInjected> take_census(const Process& process, pid_t pid, std::vector<pid_t>& living) {
  std::vector<Task> tasks;
  for (const pid_t tid : process.tasks())
    if (auto found = process.task(tid); found.ok() && !found.value().dead()) tasks.push_back(std::move(found.value()));
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
