// SPDX-License-Identifier: Apache-2.0
#include "sys/tighten_inject_by_thread.h"

#include <linux/seccomp.h>
#include <sys/syscall.h>

#include <algorithm>
#include <set>

#include "sys/tighten_filters.h"
#include "sys/tighten_foresee.h"
#include "sys/tighten_survey.h"

namespace ratchet {

namespace {

arch::Arguments restrict_arguments(int ruleset) { return {static_cast<std::uint64_t>(ruleset), 0, 0, 0, 0, 0}; }

}  // namespace

std::variant<InjectedByThread, NotInjected> InjectionByThread::run() {
  // Half of the time for what can be given up without harm, the rest for what cannot.
  const Deadline harmless = deadline_.share(2);
  Survey survey(process_, options_.observer, [this](Tracee& tracee) { return foresee(tracee); });
  if (auto refusal = survey.run(everyone() ? process_.tasks() : named(), harmless)) {
    if (refusal->tid == 0) refusal->tid = options_.pid;
    return *refusal;
  }
  if (lenders_.empty()) return refused(no_lender_.step, no_lender_.error, options_.pid);
  if (const auto refusal = lend()) return *refusal;
  // From here on the anchor holds the process.
  auto refusal = everyone() ? install_everywhere() : install_named();
  if (refusal && refusal->dirty) return *refusal;
  if (const auto loss = give_back()) return *loss;
  if (refusal) return *refusal;
  result_.stopped = std::max({result_.stopped, survey.longest_stop(), anchor_->longest_stop()});
  return result_;
}

/// With the leader, to lend memory: a filter for one thread need not permit mmap.
std::vector<pid_t> InjectionByThread::named() const {
  std::vector<pid_t> tids{options_.pid};
  for (const auto& thread : options_.threads)
    if (thread.tid != options_.pid) tids.push_back(thread.tid);
  return tids;
}

const std::vector<std::size_t>& InjectionByThread::programs_of(pid_t tid) const {
  const auto named = std::find_if(options_.threads.begin(), options_.threads.end(), [tid](const auto& thread) { return thread.tid == tid; });
  return named == options_.threads.end() ? options_.others : named->programs;
}

/// Asks the installed filters of a stopped thread, where we may read them, and the new ones about the calls that will be injected.
std::optional<NotInjected> InjectionByThread::foresee(Tracee& tracee) {
  const pid_t tid = tracee.tid();
  options_.observer.tell("foresee", tid);
  if (const Outcome foreign = why_no_calls(tracee)) return refused("architecture", foreign->error, tid);
  auto read = installed_filters(tid);
  // Not permitted to read them: then the calls tell, which is as good unless the filter kills.
  const auto installed = read.ok() ? std::move(read.value()) : std::vector<std::vector<sock_filter>>{};
  Intended intended{site_.instruction, {}, {}, {}, {}};
  if (options_.ruleset) intended.restrict_self = restrict_arguments(*options_.ruleset);
  if (options_.together) intended.installs.push_back({{}, options_.programs[*options_.together]});
  for (const std::size_t program : programs_of(tid))
    intended.installs.push_back({scratch_.install_arguments(program, 0, somewhere), options_.programs[program]});
  if (const auto refusal = foresee_refusal(installed, intended)) return refused(refusal->step, refusal->error, tid);
  intended.map = scratch_.map_arguments();
  intended.unmap = scratch_.unmap_arguments(somewhere);
  if (options_.together) intended.installs.front().arguments = scratch_.install_arguments(*options_.together, SECCOMP_FILTER_FLAG_TSYNC, somewhere);
  if (const auto refusal = foresee_refusal(installed, intended)) no_lender_ = *refusal;
  else lenders_.push_back(tid);
  return {};
}

/// Makes the scratch memory, in the first lender that lives, and installs what all threads get. On a refusal nothing has changed.
std::optional<NotInjected> InjectionByThread::lend() {
  std::optional<NotInjected> refusal;
  for (const pid_t tid : lenders_) {
    options_.observer.tell("seize", tid);
    anchor_.emplace(process_, tid, site_, options_.observer);
    if (const Outcome failed = anchor_->seize()) {
      refusal = why_not_seized(process_, tid, *failed).value_or(refused("process", ESRCH, tid));
      continue;
    }
    const auto begin = [this](BorrowedThread& thread) -> std::optional<StepFailure> {
      if (const auto failure = map(thread)) return failure;
      return refusal_ || !options_.together ? std::nullopt : install_together(thread);
    };
    bool saved = false;
    if (const auto failure = anchor_->borrow(begin, deadline_, saved)) {
      if (saved) return lost(*failure, tid);
      return refused(failure->step, failure->error, tid);
    }
    if (!refusal_) return {};
    if (const auto loss = give_back()) return *loss;
    return refused(refusal_->step, refusal_->error, unequal_ == 0 ? tid : unequal_);
  }
  return refusal;
}

std::optional<StepFailure> InjectionByThread::map(BorrowedThread& thread) {
  if (const auto failure = thread.mask()) return failure;
  thread.tell("mmap");
  auto mapped = thread.call(SYS_mmap, scratch_.map_arguments(), deadline_);
  if (!mapped.ok()) return StepFailure{"mmap", mapped.failure().error};
  if (mapped.value() < 0) refusal_ = StepFailure{"mmap", static_cast<int>(-mapped.value())};
  else address_ = static_cast<std::uint64_t>(mapped.value());
  return {};
}

std::optional<StepFailure> InjectionByThread::install_together(BorrowedThread& thread) {
  thread.tell("write");
  if (const Outcome failed = thread.write_memory(address_, scratch_.content(address_))) return StepFailure{"write", failed->error};
  thread.tell("seccomp");
  const auto arguments = scratch_.install_arguments(*options_.together, SECCOMP_FILTER_FLAG_TSYNC, address_);
  auto installed = thread.call(SYS_seccomp, arguments, deadline_);
  if (!installed.ok()) return StepFailure{"seccomp", installed.failure().error};
  any_changed_ = installed.value() == 0;
  if (installed.value() < 0) refusal_ = StepFailure{"seccomp", static_cast<int>(-installed.value())};
  if (installed.value() <= 0) return {};
  // A thread that has filters which ours has not (seccomp(2), SECCOMP_FILTER_FLAG_TSYNC).
  unequal_ = process_.outer_tid(static_cast<pid_t>(installed.value()));
  refusal_ = StepFailure{"tsync", ESRCH};
  return {};
}

std::optional<NotInjected> InjectionByThread::install_everywhere() {
  std::set<long, std::greater<>> turns;
  Roll roll;
  for (Backoff backoff;; backoff.pause()) {
    roll = call_roll(process_, [this] { attend(); });
    for (const Task& task : roll.tasks) turns.insert(task.filters);
    if (roll.complete) break;
    if (!process_.alive()) return refused("process", ESRCH, options_.pid);
    if (anchor_lost_) return lost({"anchor", anchor_lost_->error}, anchor_->tid());
    if (deadline_.passed()) return refused("stop", ETIMEDOUT, options_.pid);
  }
  for (const long filters : turns)
    if (const auto refusal = take_turn(filters, roll)) return refusal;
  return {};
}

/// Begins with who was there at the last roll. Over when a later one, which it leaves to the next turn, finds nobody.
std::optional<NotInjected> InjectionByThread::take_turn(long filters, Roll& roll) {
  // Those that had begun to end before the roll was called: they have made no thread since.
  std::set<pid_t> ended;
  for (Backoff backoff;; backoff.pause(), roll = call_roll(process_, [this] { attend(); })) {
    bool all_done = true;
    std::set<pid_t> ending;
    pid_t late = options_.pid;
    for (const Task& task : roll.tasks) {
      if (task.filters != filters || programs_of(task.tid).empty()) continue;
      const ThreadKind kind = process_.kind(task.tid);
      if (kind == ThreadKind::kernel) continue;
      if (kind == ThreadKind::ending) {
        // It may have made another since it was looked at, which has as many filters.
        if (!ended.contains(task.tid)) all_done = false;
        ending.insert(task.tid);
        continue;
      }
      bool done = false;
      if (const auto refusal = install_in(task.tid, done)) return refusal;
      if (done) backoff = Backoff();
      else late = task.tid;
      all_done = false;
    }
    if (all_done && roll.complete) return {};
    ended = std::move(ending);
    if (!process_.alive()) return refused("process", ESRCH, options_.pid);
    if (anchor_lost_) return lost({"anchor", anchor_lost_->error}, anchor_->tid());
    if (deadline_.passed()) return refused("stop", ETIMEDOUT, late);
  }
}

std::optional<NotInjected> InjectionByThread::install_named() {
  for (const auto& [tid, programs] : options_.threads) {
    if (programs.empty()) continue;
    bool done = false;
    for (Backoff backoff; !done && process_.has(tid) && process_.kind(tid) == ThreadKind::program; backoff.pause()) {
      if (const auto refusal = install_in(tid, done)) return refusal;
      if (anchor_lost_) return lost({"anchor", anchor_lost_->error}, anchor_->tid());
      if (!done && deadline_.passed()) return refused("stop", ETIMEDOUT, tid);
    }
  }
  return {};
}

/// Not `done`: it waits for the supervisor, or has ended.
std::optional<NotInjected> InjectionByThread::install_in(pid_t tid, bool& done) {
  const auto failed_at = [this, tid](const StepFailure& failure) { return lost(failure, tid); };
  refusal_.reset();
  if (tid == anchor_->tid()) {
    bool saved = false;
    if (const auto failure = anchor_->borrow([this](BorrowedThread& thread) { return install(thread); }, deadline_, saved)) return failed_at(*failure);
  } else {
    auto known = std::find_if(overtaken_.begin(), overtaken_.end(), [tid](const Tracee& tracee) { return tracee.tid() == tid; });
    if (process_.waits_for_supervisor(tid)) return {};
    std::list<Tracee> own;
    if (known == overtaken_.end()) {
      own.emplace_back(process_, tid);
      options_.observer.tell("seize", tid);
      Outcome failed = own.front().seize();
      if (!failed) failed = own.front().interrupt();
      if (failed) {
        const auto refusal = why_not_seized(process_, tid, *failed);
        return refusal ? std::optional(refused(refusal->step, refusal->error, tid)) : std::nullopt;
      }
    } else {
      own.splice(own.end(), overtaken_, known);
    }
    Tracee& tracee = own.front();
    tracee.set_attention(&attention_);
    const auto asked = Clock::now();
    if (const Outcome failed = tracee.wait_event_stop(deadline_)) {
      if (failed->error == ESRCH) return {};
      if (failed->error != EBUSY) return refused("stop", failed->error, tid);
      overtaken_.splice(overtaken_.end(), own);
      return {};
    }
    BorrowedThread thread(tracee, process_, site_, options_.observer);
    // It may have come to foreign code since the survey.
    if (const Outcome foreign = thread.why_unusable()) {
      (void)hide_interruption(tracee, process_);
      return refused("architecture", foreign->error, tid);
    }
    if (const auto failure = thread.save()) return failed_at(*failure);
    if (const auto failure = install(thread)) return failed_at(*failure);
    if (const auto loss = thread.put_back(deadline_)) return failed_at(*loss);
    if (const auto loss = thread.let_go()) return failed_at(*loss);
    result_.stopped = std::max(result_.stopped, std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - asked));
  }
  done = true;
  if (refusal_) return refused(refusal_->step, refusal_->error, tid);
  result_.tids.push_back(tid);
  return {};
}

/// Should: put the thread into the domain of the ruleset, where one is wanted. EBADF: the program has closed it; E2BIG: it has entered too many by itself.
std::optional<StepFailure> InjectionByThread::restrict_by_landlock(BorrowedThread& thread) {
  if (!options_.ruleset) return {};
  thread.tell("landlock");
  auto restricted = thread.call(SYS_landlock_restrict_self, restrict_arguments(*options_.ruleset), deadline_);
  if (!restricted.ok()) return StepFailure{"landlock", restricted.failure().error};
  if (restricted.value() == 0) any_changed_ = true;
  else refusal_ = StepFailure{"landlock", static_cast<int>(-restricted.value())};
  return {};
}

/// Mustn't: read a result before a confirmed exit. A failure: the thread's state is not known.
std::optional<StepFailure> InjectionByThread::install(BorrowedThread& thread) {
  if (const auto failure = thread.mask()) return failure;
  if (const auto failure = restrict_by_landlock(thread)) return failure;
  if (refusal_) return {};
  thread.tell("write");
  // Each time anew: the other threads run, and share this memory.
  if (const Outcome failed = thread.write_memory(address_, scratch_.content(address_))) return StepFailure{"write", failed->error};
  for (const std::size_t program : programs_of(thread.tid())) {
    thread.tell("seccomp");
    auto installed = thread.call(SYS_seccomp, scratch_.install_arguments(program, 0, address_), deadline_);
    if (!installed.ok()) return StepFailure{"seccomp", installed.failure().error};
    if (installed.value() != 0) {
      refusal_ = StepFailure{"seccomp", static_cast<int>(-installed.value())};
      return {};
    }
    any_changed_ = true;
  }
  return {};
}

/// Removes the scratch memory, if there is any, and lets the anchor go.
std::optional<NotInjected> InjectionByThread::give_back() {
  const auto unmap = [this](BorrowedThread& thread) -> std::optional<StepFailure> {
    if (const auto failure = thread.mask()) return failure;
    if (address_ == 0) return {};
    thread.tell("munmap");
    auto unmapped = thread.call(SYS_munmap, scratch_.unmap_arguments(address_), deadline_);
    if (!unmapped.ok()) return StepFailure{"munmap", unmapped.failure().error};
    if (unmapped.value() != 0) return StepFailure{"munmap", static_cast<int>(-unmapped.value())};
    return {};
  };
  if (const auto loss = anchor_->borrow_and_let_go(unmap, deadline_)) return lost(*loss, anchor_->tid());
  return {};
}

void InjectionByThread::attend() {
  if (anchor_ && !anchor_lost_) anchor_lost_ = anchor_->attend();
}

}  // namespace ratchet
