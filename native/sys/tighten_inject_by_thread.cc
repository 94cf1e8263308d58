// SPDX-License-Identifier: Apache-2.0
#include <sys/syscall.h>

#include <algorithm>
#include <optional>

#include "sys/tighten.h"
#include "sys/tighten_borrow.h"
#include "sys/tighten_filters.h"
#include "sys/tighten_foresee.h"
#include "sys/tighten_gather.h"
#include "sys/tighten_instruction.h"
#include "sys/tighten_scratch.h"
#include "sys/tighten_thread.h"

namespace ratchet {

namespace {

using Outcomes = std::variant<InjectedByThread, NotInjected>;

class InjectionByThread {
 public:
  InjectionByThread(const InjectByThreadOptions& options, const Process& process)
      : options_(options), process_(process), scratch_(options.programs), gathering_(process, options.observer) {}

  Outcomes run();

 private:
  std::vector<pid_t> wanted() const;
  const std::vector<std::size_t>& programs_of(pid_t tid) const;
  std::optional<NotInjected> foresee(std::uint64_t instruction);
  std::optional<NotInjected> install(const Deadline& deadline);
  std::optional<NotInjected> install_in(BorrowedThread& thread, std::uint64_t address, const Deadline& deadline);

  NotInjected refused(const char* step, int error, pid_t tid) const { return {step, error, tid, false}; }
  NotInjected lost(const StepFailure& failure, pid_t tid) const { return {failure.step, failure.error, tid, true}; }

  const InjectByThreadOptions& options_;
  const Process& process_;
  Scratch scratch_;
  Gathering gathering_;
  std::vector<BorrowedThread> threads_;
  /// The one of `threads_` that makes and removes the scratch memory, which all see.
  std::size_t lender_ = 0;
  bool any_installed_ = false;
};

/// Should: give each thread its programs, or change nothing. Needs: nothing but the right to trace. Leaves behind: no tracee.
Outcomes InjectionByThread::run() {
  const Deadline deadline(options_.deadline);
  // Half of the time for what can be given up without harm, the rest for what cannot.
  const Deadline harmless = deadline.share(2);
  const auto tids = process_.tasks();
  // The leader may be a zombie, whose memory is gone.
  const auto living = std::find_if(tids.begin(), tids.end(), [this](pid_t tid) { return !process_.ending(tid); });
  if (living == tids.end()) return refused("process", ESRCH, options_.pid);
  auto instruction = find_syscall_instruction(process_, *living);
  if (!process_.alive()) return refused("process", ESRCH, options_.pid);
  if (!instruction.ok()) {
    const int error = instruction.failure().error;
    return refused(step_of_reading(error), error, options_.pid);
  }
  if (const auto refusal = gathering_.stop(wanted(), !options_.others.empty(), harmless)) return *refusal;
  for (Tracee& tracee : gathering_.threads()) threads_.emplace_back(tracee, process_, instruction.value(), options_.observer);
  auto refusal = foresee(instruction.value());
  for (auto thread = threads_.begin(); !refusal && thread != threads_.end(); ++thread)
    if (const auto failure = thread->save()) refusal = refused(failure->step, failure->error, thread->tid());
  if (refusal) {
    gathering_.let_go();
    return *refusal;
  }
  // From here on a failure leaves threads seized with EXITKILL: the kernel kills the process as this thread ends.
  const auto failure = install(deadline);
  if (failure && failure->dirty) return *failure;
  InjectedByThread done{{}, {}};
  for (BorrowedThread& thread : threads_) {
    if (const auto loss = thread.put_back(deadline)) return lost(*loss, thread.tid());
    if (!programs_of(thread.tid()).empty()) done.tids.push_back(thread.tid());
  }
  // All are let go only when all are whole again: as long as one is held, the death of this thread kills.
  for (BorrowedThread& thread : threads_)
    if (const auto loss = thread.let_go()) return lost(*loss, thread.tid());
  if (failure) return *failure;
  done.stopped = std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - gathering_.since());
  return done;
}

/// The named ones, and the leader to lend memory: a filter for one thread need not permit mmap.
std::vector<pid_t> InjectionByThread::wanted() const {
  std::vector<pid_t> tids{options_.pid};
  for (const auto& thread : options_.threads)
    if (thread.tid != options_.pid) tids.push_back(thread.tid);
  return tids;
}

const std::vector<std::size_t>& InjectionByThread::programs_of(pid_t tid) const {
  const auto named = std::find_if(options_.threads.begin(), options_.threads.end(), [tid](const auto& thread) { return thread.tid == tid; });
  return named == options_.threads.end() ? options_.others : named->programs;
}

/// Asks the installed filters of each thread, where we may read them, and the new ones about the calls that will be injected.
std::optional<NotInjected> InjectionByThread::foresee(std::uint64_t instruction) {
  bool lent = false;
  for (std::size_t index = 0; index < threads_.size(); index++) {
    BorrowedThread& thread = threads_[index];
    thread.tell("foresee");
    if (const Outcome foreign = thread.why_unusable()) return refused("architecture", foreign->error, thread.tid());
    auto read = installed_filters(thread.tid());
    // Not permitted to read them: then the calls tell, which is as good unless the filter kills.
    const auto installed = read.ok() ? std::move(read.value()) : std::vector<std::vector<sock_filter>>{};
    Intended intended{instruction, {}, {}, {}};
    for (const std::size_t program : programs_of(thread.tid()))
      intended.installs.push_back({scratch_.install_arguments(program, 0, somewhere), options_.programs[program]});
    if (const auto refusal = foresee_refusal(installed, intended)) return refused(refusal->step, refusal->error, thread.tid());
    intended.map = scratch_.map_arguments();
    intended.unmap = scratch_.unmap_arguments(somewhere);
    if (lent || foresee_refusal(installed, intended)) continue;
    lender_ = index;
    lent = true;
  }
  if (!lent) return refused("mmap", EPERM, options_.pid);
  return {};
}

/// Leaves behind: the threads at stops, with changed registers and signal masks. A refusal that is not dirty: no thread has a filter
/// more, and the scratch memory is gone.
std::optional<NotInjected> InjectionByThread::install(const Deadline& deadline) {
  for (BorrowedThread& thread : threads_)
    if (const auto failure = thread.mask()) return lost(*failure, thread.tid());

  BorrowedThread& lender = threads_[lender_];
  lender.tell("mmap");
  auto mapped = lender.call(SYS_mmap, scratch_.map_arguments(), deadline);
  if (!mapped.ok()) return lost({"mmap", mapped.failure().error}, lender.tid());
  if (mapped.value() < 0) return refused("mmap", static_cast<int>(-mapped.value()), lender.tid());
  const auto address = static_cast<std::uint64_t>(mapped.value());

  lender.tell("write");
  if (const Outcome failed = lender.write_memory(address, scratch_.content(address))) return lost({"write", failed->error}, lender.tid());

  std::optional<NotInjected> refusal;
  for (auto thread = threads_.begin(); !refusal && thread != threads_.end(); ++thread) refusal = install_in(*thread, address, deadline);
  if (refusal && refusal->dirty) return refusal;

  lender.tell("munmap");
  auto unmapped = lender.call(SYS_munmap, scratch_.unmap_arguments(address), deadline);
  if (!unmapped.ok()) return lost({"munmap", unmapped.failure().error}, lender.tid());
  if (unmapped.value() != 0) return lost({"munmap", static_cast<int>(-unmapped.value())}, lender.tid());
  return refusal;
}

/// A refusal is clean only while no thread has got a filter.
std::optional<NotInjected> InjectionByThread::install_in(BorrowedThread& thread, std::uint64_t address, const Deadline& deadline) {
  for (const std::size_t program : programs_of(thread.tid())) {
    thread.tell("seccomp");
    auto installed = thread.call(SYS_seccomp, scratch_.install_arguments(program, 0, address), deadline);
    if (!installed.ok()) return lost({"seccomp", installed.failure().error}, thread.tid());
    if (installed.value() != 0) return NotInjected{"seccomp", static_cast<int>(-installed.value()), thread.tid(), any_installed_};
    any_installed_ = true;
  }
  return {};
}

bool is_valid(const InjectByThreadOptions& options) {
  const auto known = [&options](const std::vector<std::size_t>& programs) {
    return std::all_of(programs.begin(), programs.end(), [&options](std::size_t program) { return program < options.programs.size(); });
  };
  return std::all_of(options.programs.begin(), options.programs.end(), is_program) && known(options.others) &&
         std::all_of(options.threads.begin(), options.threads.end(), [&known](const auto& thread) { return known(thread.programs); });
}

}  // namespace

std::variant<InjectedByThread, NotInjected> inject_by_thread(const InjectByThreadOptions& options) {
  if (!is_valid(options)) return NotInjected{"program", EINVAL, 0, false};
  auto outcome = on_tracer_thread([&options]() -> Outcomes {
    auto process = Process::pin(options.pid, options.pidfd);
    if (!process.ok()) return NotInjected{"process", process.failure().error, options.pid, false};
    return InjectionByThread(options, process.value()).run();
  });
  if (!outcome.ok()) return NotInjected{"thread", outcome.failure().error, 0, false};
  return outcome.value();
}

}  // namespace ratchet
