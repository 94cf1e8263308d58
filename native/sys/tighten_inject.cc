// SPDX-License-Identifier: Apache-2.0
#include <linux/seccomp.h>
#include <sys/syscall.h>

#include <optional>

#include "sys/tighten.h"
#include "sys/tighten_borrow.h"
#include "sys/tighten_census.h"
#include "sys/tighten_choose.h"
#include "sys/tighten_filters.h"
#include "sys/tighten_foresee.h"
#include "sys/tighten_instruction.h"
#include "sys/tighten_scratch.h"
#include "sys/tighten_thread.h"

namespace ratchet {

namespace {

using Outcomes = std::variant<Injected, NotInjected>;

class Injection {
 public:
  Injection(const InjectOptions& options, const Process& process)
      : options_(options), process_(process), scratch_(std::span(&options.program, 1)) {}

  Outcomes run();

 private:
  std::optional<NotInjected> foresee(pid_t tid, std::uint64_t instruction) const;
  std::optional<NotInjected> install(BorrowedThread& thread, const Deadline& deadline);

  NotInjected refused(const char* step, int error, pid_t tid) const { return {step, error, tid, false}; }
  NotInjected lost(const StepFailure& failure, pid_t tid) const { return {failure.step, failure.error, tid, true}; }

  const InjectOptions& options_;
  const Process& process_;
  Scratch scratch_;
  std::vector<pid_t> living_;
};

/// Should: install the filter, or change nothing. Needs: nothing but the right to trace. Leaves behind: no tracee.
Outcomes Injection::run() {
  const Deadline deadline(options_.deadline);
  // Half of the time for what can be given up without harm, the rest for what cannot.
  const Deadline harmless = deadline.share(2);
  if (const auto refusal = take_census(process_, options_.pid, living_)) return *refusal;
  auto instruction = find_syscall_instruction(process_, living_.front());
  if (!process_.alive()) return refused("process", ESRCH, options_.pid);
  if (!instruction.ok()) {
    const int error = instruction.failure().error;
    return refused(step_of_reading(error), error, living_.front());
  }

  const CallSite site = call_site(process_, instruction.value());
  Choice choice(process_, options_.observer);
  const auto stopped = choice.stop_one(living_, harmless);
  if (const auto* refusal = std::get_if<NotInjected>(&stopped)) return *refusal;
  const auto& [tracee, asked] = std::get<Chosen>(stopped);
  const pid_t tid = tracee->tid();

  if (const auto refusal = foresee(tid, instruction.value())) {
    // Whatever fails here, the kernel lets the thread go when ours ends, and nothing was changed.
    (void)hide_interruption(*tracee, process_);
    (void)tracee->detach();
    return *refusal;
  }
  BorrowedThread thread(*tracee, process_, site, options_.observer);
  if (const auto failure = thread.save()) return refused(failure->step, failure->error, tid);
  // From here to let_go() a failure leaves the thread seized with EXITKILL: the kernel kills the process as this thread ends.
  const auto failure = install(thread, deadline);
  if (failure && failure->dirty) return *failure;
  if (const auto loss = thread.put_back(deadline)) return lost(*loss, tid);
  if (const auto loss = thread.let_go()) return lost(*loss, tid);
  if (failure) return *failure;
  return Injected{tid, std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - asked)};
}

std::optional<NotInjected> Injection::foresee(pid_t tid, std::uint64_t instruction) const {
  options_.observer.tell("foresee", tid);
  auto installed = installed_filters(tid);
  // Not permitted to read them: then the calls tell, which is as good unless the filter kills.
  const std::vector<std::vector<sock_filter>> none;
  const Intended intended{instruction,
                          scratch_.map_arguments(),
                          scratch_.unmap_arguments(somewhere),
                          {{scratch_.install_arguments(0, SECCOMP_FILTER_FLAG_TSYNC, somewhere), options_.program}},
                          {}};
  const auto refusal = foresee_refusal(installed.ok() ? installed.value() : none, intended);
  if (!refusal) return {};
  return refused(refusal->step, refusal->error, tid);
}

/// Mustn't: read a result before a confirmed exit. Leaves behind: the thread at a stop, its registers and signal mask changed. A
/// refusal that is not dirty: the filter is on no thread, and the scratch memory is gone.
std::optional<NotInjected> Injection::install(BorrowedThread& thread, const Deadline& deadline) {
  const pid_t tid = thread.tid();
  if (const auto failure = thread.mask()) return lost(*failure, tid);

  thread.tell("mmap");
  auto mapped = thread.call(SYS_mmap, scratch_.map_arguments(), deadline);
  if (!mapped.ok()) return lost({"mmap", mapped.failure().error}, tid);
  if (mapped.value() < 0) return refused("mmap", static_cast<int>(-mapped.value()), tid);
  const auto address = static_cast<std::uint64_t>(mapped.value());

  thread.tell("write");
  if (const Outcome failed = thread.write_memory(address, scratch_.content(address))) return lost({"write", failed->error}, tid);

  thread.tell("seccomp");
  auto installed = thread.call(SYS_seccomp, scratch_.install_arguments(0, SECCOMP_FILTER_FLAG_TSYNC, address), deadline);
  if (!installed.ok()) return lost({"seccomp", installed.failure().error}, tid);

  thread.tell("munmap");
  auto unmapped = thread.call(SYS_munmap, scratch_.unmap_arguments(address), deadline);
  if (!unmapped.ok()) return lost({"munmap", unmapped.failure().error}, tid);
  if (unmapped.value() != 0) return lost({"munmap", static_cast<int>(-unmapped.value())}, tid);

  if (installed.value() < 0) return refused("seccomp", static_cast<int>(-installed.value()), tid);
  // A thread that has filters which ours has not (seccomp(2), SECCOMP_FILTER_FLAG_TSYNC).
  if (installed.value() > 0) return refused("tsync", ESRCH, process_.outer_tid(static_cast<pid_t>(installed.value())));
  return {};
}

}  // namespace

std::variant<Injected, NotInjected> inject_filter(const InjectOptions& options) {
  if (!is_program(options.program)) return NotInjected{"program", EINVAL, 0, false};
  auto outcome = on_tracer_thread([&options]() -> Outcomes {
    auto process = Process::pin(options.pid, options.pidfd);
    if (!process.ok()) return NotInjected{"process", process.failure().error, options.pid, false};
    return Injection(options, process.value()).run();
  });
  if (!outcome.ok()) return NotInjected{"thread", outcome.failure().error, 0, false};
  return outcome.value();
}

}  // namespace ratchet
