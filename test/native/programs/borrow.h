// SPDX-License-Identifier: Apache-2.0
// What programs that make another process's thread call have in common: the thread is stopped, and put back afterwards.
#pragma once

#include <sys/syscall.h>
#include <unistd.h>

#include <cstdio>

#include "sys/tighten_borrow.h"
#include "sys/tighten_choose.h"
#include "sys/tighten_instruction.h"

namespace ratchet {

/// Below the stack pointer, and below what a leaf function may keep there.
constexpr std::uint64_t below_the_stack = 1024;

inline int fail(const char* step) {
  std::fprintf(stderr, "%s failed\n", step);
  return 1;
}

/// Stops the thread and calls `use(thread, tracee, place, deadline)`, `place` being memory that it may use once it has put back what is there. Returns what that returns.
int with_borrowed(pid_t pid, pid_t tid, auto use) {
  const int pidfd = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0U));
  auto process = Process::pin(pid, pidfd);
  if (!process.ok()) return fail("pin");
  auto instruction = find_syscall_instruction(process.value(), pid);
  if (!instruction.ok()) return fail("instruction");
  const StepObserver nobody;
  const Deadline deadline(std::chrono::seconds(20));
  Choice choice(process.value(), nobody);
  const auto stopped = choice.stop_one({tid}, deadline);
  if (!std::holds_alternative<Chosen>(stopped)) return fail("stop");
  Tracee& tracee = *std::get<Chosen>(stopped).tracee;
  auto registers = tracee.registers();
  BorrowedThread thread(tracee, process.value(), call_site(process.value(), instruction.value()), nobody);
  if (!registers.ok() || thread.save() || thread.mask()) return fail("save");
  return use(thread, tracee, registers.value().rsp - below_the_stack, deadline);
}

}  // namespace ratchet
