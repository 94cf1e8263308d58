// SPDX-License-Identifier: Apache-2.0
// One thread after the other installs its filters, while all others run. What makes this as good as stopping all:
//  - Nobody gets more: a filter only takes away, so a thread that has it is in the later stage and one that has not is in the earlier one. The stage
//    counts as entered when all were verified.
//  - All or nothing: each thread was looked at before the first change (Survey), and from then on an Anchor holds the process. A failure after the first
//    filter kills it.
//  - None is left out, though threads make others meanwhile: they are taken in the order of how many filters they had, those with the most first. A
//    thread has as many as its maker had. So while it is the turn of those with N, whoever has N lacks the new ones: a thread that has got them has
//    more, those that had more are all done, and those that had fewer have not begun. A turn is over when a complete roll finds nobody with N, and
//    from then on nobody can make one. Who had N at the roll and has begun to end since counts as found: it may have made another as its last act.
// A Landlock domain is entered in the same stop as the filters are installed, and before them. So the number of filters tells of it too, which no file of /proc does:
// who has the new ones has called landlock_restrict_self(2) with a confirmed 0, or was made by a thread that had.
#pragma once

#include <list>
#include <optional>

#include "sys/tighten.h"
#include "sys/tighten_anchor.h"
#include "sys/tighten_roll.h"
#include "sys/tighten_scratch.h"

namespace ratchet {

class InjectionByThread {
 public:
  InjectionByThread(const InjectByThreadOptions& options, const Process& process, std::uint64_t instruction)
      : options_(options), process_(process), site_(call_site(process, instruction)), scratch_(options.programs), deadline_(options.deadline) {}

  /// Should: give each thread its programs, or change nothing. Needs: nothing but the right to trace. Leaves behind: no tracee.
  std::variant<InjectedByThread, NotInjected> run();

 private:
  std::vector<pid_t> named() const;
  const std::vector<std::size_t>& programs_of(pid_t tid) const;
  bool everyone() const { return !options_.others.empty(); }

  std::optional<NotInjected> foresee(Tracee& tracee);
  std::optional<NotInjected> lend();
  std::optional<StepFailure> map(BorrowedThread& thread);
  std::optional<StepFailure> install_together(BorrowedThread& thread);
  std::optional<NotInjected> install_everywhere();
  std::optional<NotInjected> take_turn(long filters, Roll& roll);
  std::optional<NotInjected> install_named();
  std::optional<NotInjected> install_in(pid_t tid, bool& done);
  std::optional<StepFailure> restrict_by_landlock(BorrowedThread& thread);
  std::optional<StepFailure> install(BorrowedThread& thread);
  std::optional<NotInjected> give_back();
  void attend();

  NotInjected refused(const char* step, int error, pid_t tid) const { return {step, error, tid, any_changed_}; }
  NotInjected lost(const StepFailure& failure, pid_t tid) const { return {failure.step, failure.error, tid, true}; }

  const InjectByThreadOptions& options_;
  const Process& process_;
  CallSite site_;
  Scratch scratch_;
  Deadline deadline_;
  const Attention attention_{[](void* self) { static_cast<InjectionByThread*>(self)->attend(); }, this};
  /// Threads whose filters permit mmap and munmap, before and after.
  std::vector<pid_t> lenders_;
  /// Why the last one that cannot lend cannot.
  StepFailure no_lender_{"mmap", EPERM};
  std::optional<Anchor> anchor_;
  Outcome anchor_lost_;
  std::uint64_t address_ = 0;
  /// Asked to stop, and waiting for the seccomp supervisor first.
  std::list<Tracee> overtaken_;
  /// Some thread has a filter or a domain that it had not.
  bool any_changed_ = false;
  /// A call that the kernel refused, read at its confirmed exit: nothing came of it.
  std::optional<StepFailure> refusal_;
  /// The thread because of which the kernel gave none of them the filter for all.
  pid_t unequal_ = 0;
  InjectedByThread result_{{}, {}};
};

}  // namespace ratchet
