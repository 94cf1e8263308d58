// SPDX-License-Identifier: Apache-2.0
#include "sys/tighten_tracee.h"

#include <elf.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sys/processes.h"

namespace ratchet {

namespace {

Outcome trace(int request, pid_t tid, std::uintptr_t address, std::uintptr_t data) {
  const auto name = static_cast<__ptrace_request>(request);
  if (::ptrace(name, tid, reinterpret_cast<void*>(address), reinterpret_cast<void*>(data)) < 0) return last_failure("ptrace");
  return {};
}

/// The size of the kernel's signal set, which is not that of sigset_t (ptrace(2), PTRACE_GETSIGMASK).
constexpr std::uintptr_t signal_set_size = sizeof(std::uint64_t);

}  // namespace

Outcome Tracee::seize() {
  if (Outcome failed = trace(PTRACE_SEIZE, tid_, 0, 0)) {
    // The kernel says EPERM of a thread that has begun to end, too.
    if (failed->error == EPERM && process_.ending(tid_)) failed->error = ESRCH;
    return failed;
  }
  // The tid may have passed to another process between the listing and now. If so the kernel lets that one go with our thread.
  if (!process_.has(tid_)) return Failure{ESRCH, "ptrace"};
  return {};
}

Outcome Tracee::interrupt() { return trace(PTRACE_INTERRUPT, tid_, 0, 0); }

Result<std::optional<Stop>> Tracee::poll() {
  siginfo_t info{};
  // WSTOPPED alone: the process's end is never consumed, the event loop waits for it. __WNOTHREAD: only what this thread traces.
  if (::waitid(P_PID, static_cast<id_t>(tid_), &info, WSTOPPED | WNOHANG | __WALL | __WNOTHREAD) < 0)
    return Failure{errno == ECHILD ? ESRCH : errno, "waitid"};
  if (info.si_pid == 0) return std::optional<Stop>();
  const int signal = info.si_status & 0x7f;
  if (info.si_status >> 8 == PTRACE_EVENT_STOP) {
    last_event_signal_ = signal;
    return std::optional(Stop{StopKind::event, signal});
  }
  if (info.si_status >> 8 == PTRACE_EVENT_EXIT) return std::optional(Stop{StopKind::exit, 0});
  // PTRACE_O_TRACESYSGOOD
  if (info.si_status == (SIGTRAP | 0x80)) return std::optional(Stop{StopKind::syscall, 0});
  return std::optional(Stop{StopKind::signal, signal});
}

Result<bool> Tracee::poll_event_stop() {
  for (;;) {
    auto stop = poll();
    if (!stop.ok()) return stop.failure();
    if (!stop.value()) return false;
    if (stop.value()->kind == StopKind::event) return true;
    if (stop.value()->kind == StopKind::exit) return Failure{ESRCH, "waitid"};
    const int signal = stop.value()->kind == StopKind::signal ? stop.value()->signal : 0;
    // Any stop uses up a pending interruption (kernel/signal.c, ptrace_stop): without a new one a thread that goes to sleep after this
    // signal would never stop again. Asked for while it stands still, it stops exactly once more.
    if (const Outcome failed = interrupt()) return *failed;
    if (const Outcome failed = resume(PTRACE_CONT, signal)) return *failed;
  }
}

Outcome Tracee::wait_event_stop(const Deadline& deadline) {
  for (Backoff backoff;; backoff.pause()) {
    auto stopped = poll_event_stop();
    if (!stopped.ok()) return stopped.failure();
    if (stopped.value()) return {};
    if (attention_ != nullptr) attention_->function(attention_->context);
    if (backoff.yielding()) continue;
    if (process_.ending(tid_)) return Failure{ESRCH, "waitid"};
    if (process_.waits_for_supervisor(tid_)) return Failure{EBUSY, "waitid"};
    if (deadline.passed()) return Failure{ETIMEDOUT, "waitid"};
  }
}

Result<Stop> Tracee::wait_stop(const Deadline& deadline) {
  for (Backoff backoff;; backoff.pause()) {
    auto stop = poll();
    if (!stop.ok()) return stop.failure();
    if (stop.value()) return *stop.value();
    if (attention_ != nullptr) attention_->function(attention_->context);
    if (backoff.yielding()) continue;
    if (process_.ending(tid_)) return Failure{ESRCH, "waitid"};
    if (deadline.passed()) return Failure{ETIMEDOUT, "waitid"};
  }
}

Outcome Tracee::set_options(unsigned long options) { return trace(PTRACE_SETOPTIONS, tid_, 0, options); }

Outcome Tracee::resume(int request, int signal) { return trace(request, tid_, 0, static_cast<std::uintptr_t>(signal)); }

Outcome Tracee::detach() { return trace(PTRACE_DETACH, tid_, 0, 0); }

Outcome Tracee::run_on(int signal) {
  const bool process_stopped = signal != 0 && signal != SIGTRAP;
  return process_stopped ? trace(PTRACE_LISTEN, tid_, 0, 0) : resume(PTRACE_CONT, 0);
}

Result<arch::Registers> Tracee::registers() {
  arch::Registers registers{};
  iovec vector{&registers, sizeof registers};
  if (const Outcome failed = trace(PTRACE_GETREGSET, tid_, NT_PRSTATUS, reinterpret_cast<std::uintptr_t>(&vector))) return *failed;
  // A 32-bit thread has a smaller set.
  if (vector.iov_len != sizeof registers) return Failure{ENOEXEC, "ptrace"};
  return registers;
}

Outcome Tracee::set_registers(const arch::Registers& registers) {
  iovec vector{const_cast<arch::Registers*>(&registers), sizeof registers};  // PTRACE_SETREGSET only reads it.
  return trace(PTRACE_SETREGSET, tid_, NT_PRSTATUS, reinterpret_cast<std::uintptr_t>(&vector));
}

Result<std::vector<std::uint8_t>> Tracee::vector_state() {
  // Intel's largest at present, with AMX tiles, is 11 KiB.
  std::vector<std::uint8_t> state(16384);
  iovec vector{state.data(), state.size()};
  if (const Outcome failed = trace(PTRACE_GETREGSET, tid_, arch::vector_note, reinterpret_cast<std::uintptr_t>(&vector))) return *failed;
  state.resize(vector.iov_len);
  arch::normalize_vector_state(state);
  return state;
}

Result<std::uint64_t> Tracee::signal_mask() {
  std::uint64_t mask = 0;
  if (const Outcome failed = trace(PTRACE_GETSIGMASK, tid_, signal_set_size, reinterpret_cast<std::uintptr_t>(&mask))) return *failed;
  return mask;
}

Outcome Tracee::set_signal_mask(std::uint64_t mask) {
  return trace(PTRACE_SETSIGMASK, tid_, signal_set_size, reinterpret_cast<std::uintptr_t>(&mask));
}

Outcome Tracee::read_memory(std::uint64_t address, std::span<std::uint8_t> destination) {
  return ratchet::read_memory(tid_, address, destination);
}

Outcome Tracee::write_memory(std::uint64_t address, std::span<const std::uint8_t> source) {
  iovec local{const_cast<std::uint8_t*>(source.data()), source.size()};  // process_vm_writev only reads it.
  iovec remote{reinterpret_cast<void*>(address), source.size()};          // Never dereferenced here: it is the other process's.
  const ssize_t count = ::process_vm_writev(tid_, &local, 1, &remote, 1, 0);
  if (count < 0) return last_failure("process_vm_writev");
  if (static_cast<std::size_t>(count) != source.size()) return Failure{EFAULT, "process_vm_writev"};
  return {};
}

Outcome hide_interruption(Tracee& tracee, const Process& process) {
  auto registers = tracee.registers();
  // Of a 32-bit thread nothing is known here, and nothing is changed.
  if (!registers.ok()) return registers.failure().error == ENOEXEC ? Outcome() : Outcome(registers.failure());
  if (!arch::rewind_unrestartable(registers.value())) return {};
  auto task = process.task(tracee.tid());
  if (!task.ok()) return task.failure();
  if (task.value().deliverable != 0) return {};
  return tracee.set_registers(registers.value());
}

}  // namespace ratchet
