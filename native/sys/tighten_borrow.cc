// SPDX-License-Identifier: Apache-2.0
#include "sys/tighten_borrow.h"

#include <signal.h>
#include <sys/ptrace.h>

#include <array>
#include <cstring>
#include <utility>

#include "sys/tighten_call.h"
#include "sys/tighten_rseq.h"
#include "sys/tighten_single_step.h"

namespace ratchet {

namespace {

StepFailure at(const char* step, const Failure& failure) { return {step, failure.error}; }

}  // namespace

Outcome why_no_calls(Tracee& tracee) {
  const Failure foreign{ENOEXEC, "ptrace"};
  auto registers = tracee.registers();
  if (!registers.ok()) return registers.failure();
  if (!arch::native_code(registers.value())) return foreign;
  std::array<std::uint8_t, arch::syscall_instruction.size()> bytes{};
  const std::uint64_t at = arch::instruction_pointer(registers.value());
  const bool at_syscall = !tracee.read_memory(at, bytes) && bytes == arch::syscall_instruction;
  return arch::restart_can_be_kept(registers.value(), at_syscall) ? Outcome() : foreign;
}

CallSite call_site(const Process& process, std::uint64_t instruction) { return {instruction, process.ignores(SIGTRAP)}; }

std::optional<StepFailure> BorrowedThread::save(unsigned long more_options) {
  tell("save");
  if (const Outcome failed = hide_interruption(*tracee_, *process_)) return at("save", *failed);
  auto registers = tracee_->registers();
  if (!registers.ok()) return at("save", registers.failure());
  auto vector_state = tracee_->vector_state();
  if (!vector_state.ok()) return at("save", vector_state.failure());
  auto mask = tracee_->signal_mask();
  if (!mask.ok()) return at("save", mask.failure());
  saved_ = {registers.value(), std::move(vector_state.value()), mask.value(), rseq_section(*tracee_)};
  tell("exitkill");
  if (const Outcome failed = tracee_->set_options(PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD | more_options)) return at("exitkill", *failed);
  return {};
}

std::optional<StepFailure> BorrowedThread::mask() {
  tell("mask");
  constexpr std::uint64_t sigtrap = 1ULL << (SIGTRAP - 1);
  steps_ = arch::steps_over_calls && !site_.ignores_trap;
  // Where it is not blocked none waits for long: what comes now is met as it comes.
  if (steps_ && (saved_.signal_mask & sigtrap) != 0) {
    auto task = process_->task(tid());
    steps_ = task.ok() && (task.value().pending & sigtrap) == 0;
  }
  std::uint64_t all_but_forced = ~(1ULL << (SIGSYS - 1));
  if (steps_) all_but_forced &= ~sigtrap;
  if (const Outcome failed = tracee_->set_signal_mask(all_but_forced)) return at("mask", *failed);
  return {};
}

Result<std::int64_t> BorrowedThread::call(long number, const arch::Arguments& arguments, const Deadline& deadline) {
  if (steps_) {
    const auto stepped = call_by_single_step(*tracee_, saved_.registers, site_.instruction, number, arguments, deadline);
    if (!stepped.ok()) return stepped.failure();
    steps_ = !stepped.value().set_aside;
    if (stepped.value().result) return *stepped.value().result;
  }
  in_get_signal_ = false;
  return call_in_thread(*tracee_, saved_.registers, site_.instruction, number, arguments, deadline);
}

std::optional<StepFailure> BorrowedThread::put_back(const Deadline& deadline) {
  tell("return");
  if (!in_get_signal_)
    if (const auto failure = come_to_event(deadline)) return failure;
  return restore();
}

std::optional<StepFailure> BorrowedThread::put_back_at_event(const Deadline& deadline) {
  tell("return");
  if (const auto failure = come_to_event(deadline)) return failure;
  return restore();
}

/// Not from the exit stop of a call: only within get_signal() does the kernel look at orig_rax and rax afterwards, and restarts the call that we
/// interrupted, or hands it to restart_syscall(2). From an exit stop the program would see -ERESTARTSYS.
std::optional<StepFailure> BorrowedThread::come_to_event(const Deadline& deadline) {
  // A call may have left the thread at an event stop already (after a trap); the interrupt then gives another one.
  if (const Outcome failed = tracee_->interrupt()) return at("return", *failed);
  if (const Outcome failed = tracee_->resume(PTRACE_CONT, 0)) return at("return", *failed);
  for (;;) {
    auto stop = tracee_->wait_stop(deadline);
    if (!stop.ok()) return at("return", stop.failure());
    if (stop.value().kind == StopKind::event) break;
    if (stop.value().kind != StopKind::signal) return StepFailure{"return", EPROTO};
    if (const Outcome failed = postpone_signal(*tracee_, PTRACE_CONT, stop.value().signal)) return at("return", *failed);
  }
  in_get_signal_ = true;
  return {};
}

std::optional<StepFailure> BorrowedThread::restore() {
  tell("restore");
  if (const Outcome failed = tracee_->set_registers(saved_.registers)) return at("restore", *failed);
  if (const Outcome failed = tracee_->set_signal_mask(saved_.signal_mask)) return at("restore", *failed);
  if (const Outcome failed = restore_rseq_section(*tracee_, saved_.rseq_section)) return at("restore", *failed);
  auto registers = tracee_->registers();
  if (!registers.ok()) return at("restore", registers.failure());
  if (std::memcmp(&registers.value(), &saved_.registers, sizeof saved_.registers) != 0) return StepFailure{"registers", EIO};
  auto vector_state = tracee_->vector_state();
  if (!vector_state.ok()) return at("restore", vector_state.failure());
  if (vector_state.value() != saved_.vector_state) return StepFailure{"registers", EIO};
  return {};
}

std::optional<StepFailure> BorrowedThread::let_go() {
  tell("detach");
  if (const Outcome failed = tracee_->detach()) return at("detach", *failed);
  return {};
}

}  // namespace ratchet
