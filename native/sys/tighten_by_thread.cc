// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "sys/tighten_census.h"
#include "sys/tighten_filters.h"
#include "sys/tighten_inject_by_thread.h"
#include "sys/tighten_instruction.h"
#include "sys/tighten_thread.h"

namespace ratchet {

namespace {

bool is_valid(const InjectByThreadOptions& options) {
  const auto known = [&options](const std::vector<std::size_t>& programs) {
    return std::all_of(programs.begin(), programs.end(), [&options](std::size_t program) { return program < options.programs.size(); });
  };
  return std::all_of(options.programs.begin(), options.programs.end(), is_program) && known(options.others) &&
         (!options.together || (*options.together < options.programs.size() && options.others.empty())) &&
         (!options.ruleset || (*options.ruleset >= 0 && !options.others.empty())) &&
         std::all_of(options.threads.begin(), options.threads.end(), [&known](const auto& thread) { return known(thread.programs); });
}

std::variant<InjectedByThread, NotInjected> inject(const InjectByThreadOptions& options) {
  auto process = Process::pin(options.pid, options.pidfd);
  if (!process.ok()) return NotInjected{"process", process.failure().error, options.pid, false};
  std::vector<pid_t> equals;
  if (options.together)
    if (const auto refusal = take_census(process.value(), options.pid, equals)) return *refusal;
  const auto tids = process.value().tasks();
  // The leader may be a zombie, whose memory is gone.
  const auto living = std::find_if(tids.begin(), tids.end(), [&process](pid_t tid) { return !process.value().ending(tid); });
  if (living == tids.end()) return NotInjected{"process", ESRCH, options.pid, false};
  auto instruction = find_syscall_instruction(process.value(), *living);
  if (!process.value().alive()) return NotInjected{"process", ESRCH, options.pid, false};
  if (!instruction.ok()) {
    const int error = instruction.failure().error;
    return NotInjected{step_of_reading(error), error, options.pid, false};
  }
  return InjectionByThread(options, process.value(), instruction.value()).run();
}

}  // namespace

std::variant<InjectedByThread, NotInjected> inject_by_thread(const InjectByThreadOptions& options) {
  if (!is_valid(options)) return NotInjected{"program", EINVAL, 0, false};
  auto outcome = on_tracer_thread([&options] {
    return inject(options);
  });
  if (!outcome.ok()) return NotInjected{"thread", outcome.failure().error, 0, false};
  return outcome.value();
}

}  // namespace ratchet
