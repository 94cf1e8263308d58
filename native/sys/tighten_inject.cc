// SPDX-License-Identifier: Apache-2.0
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

#include <cstring>
#include <optional>
#include <set>

#include "sys/tighten.h"
#include "sys/tighten_call.h"
#include "sys/tighten_choose.h"
#include "sys/tighten_filters.h"
#include "sys/tighten_instruction.h"
#include "sys/tighten_rseq.h"
#include "sys/tighten_simulate.h"
#include "sys/tighten_thread.h"

namespace ratchet {

namespace {

using Outcomes = std::variant<Injected, NotInjected>;

constexpr std::uint64_t page = 4096;

/// struct sock_fprog as a 64-bit process has it; the program follows it in the scratch memory.
struct ProgramHeader {
  std::uint16_t length;
  std::uint16_t padding[3];
  std::uint64_t address;
};
static_assert(sizeof(ProgramHeader) == 16);

/// The scratch memory is a fresh mapping, made by an injected mmap(2) and removed by an injected munmap(2). Nothing that the program
/// owns is borrowed: below a stack pointer there may be another thread's heap (alternate signal stacks, coroutines), and other
/// threads run on meanwhile. The price is two calls, and that every filter must allow anonymous mmap and munmap, as malloc needs anyway.
arch::Arguments map_arguments(std::uint64_t length) {
  return {0, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, ~0ULL, 0};
}
arch::Arguments unmap_arguments(std::uint64_t address, std::uint64_t length) { return {address, length, 0, 0, 0, 0}; }
arch::Arguments install_arguments(std::uint64_t address) {
  return {SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, address, 0, 0, 0};
}

/// What must be put back, and be as it was at the end.
struct Saved {
  arch::Registers registers;
  std::vector<std::uint8_t> vector_state;
  std::uint64_t signal_mask;
  std::uint64_t rseq_section;
};

class Injection {
 public:
  Injection(const InjectOptions& options, const Process& process) : options_(options), process_(process) {}

  Outcomes run();

 private:
  std::optional<NotInjected> census();
  std::optional<NotInjected> foresee_refusal();
  std::optional<NotInjected> prepare();
  std::optional<NotInjected> install(const Deadline& deadline);
  std::optional<NotInjected> put_back(const Deadline& deadline);
  std::optional<NotInjected> let_go();
  std::optional<NotInjected> verify(const Deadline& deadline);

  NotInjected refused(const char* step, int error, pid_t tid) const { return {step, error, tid, false}; }
  NotInjected lost(const char* step, int error) const { return {step, error, tracee_->tid(), true}; }
  void tell(const char* step) const { options_.observer.tell(step, tracee_->tid()); }

  std::uint64_t scratch_length() const { return (sizeof(ProgramHeader) + options_.program.size() + page - 1) / page * page; }
  pid_t visible_tid(pid_t inner) const;

  const InjectOptions& options_;
  const Process& process_;
  std::vector<pid_t> living_;
  long filters_before_ = 0;
  std::uint64_t instruction_ = 0;
  Tracee* tracee_ = nullptr;
  Saved saved_{};
};

/// Should: install the filter, or change nothing. Needs: nothing but the right to trace. Leaves behind: no tracee.
Outcomes Injection::run() {
  const Deadline deadline(options_.deadline);
  // Half of the time for what can be given up without harm, the rest for what cannot.
  const Deadline harmless = deadline.share(2);
  if (const auto refusal = census()) return *refusal;
  auto instruction = find_syscall_instruction(process_, living_.front());
  if (!process_.alive()) return refused("process", ESRCH, options_.pid);
  if (!instruction.ok()) {
    const int error = instruction.failure().error;
    // Who may not read the memory may not trace either: the kernel asks the same of both (ptrace(2), "Ptrace access mode checking").
    return refused(error == EACCES || error == EPERM ? "seize" : "instruction", error, living_.front());
  }
  instruction_ = instruction.value();

  Choice choice(process_, options_.observer);
  const auto stopped = choice.stop_one(living_, harmless);
  if (const auto* refusal = std::get_if<NotInjected>(&stopped)) return *refusal;
  const Chosen& chosen = std::get<Chosen>(stopped);
  tracee_ = chosen.tracee;

  if (const auto refusal = foresee_refusal()) {
    // Whatever fails here, the kernel lets the thread go when ours ends, and nothing was changed.
    (void)hide_interruption(*tracee_, process_);
    (void)tracee_->detach();
    return *refusal;
  }
  if (const auto refusal = prepare()) return *refusal;
  // From here to let_go() a failure leaves the thread seized with EXITKILL: the kernel kills the process as this thread ends.
  const auto failure = install(deadline);
  if (failure && failure->dirty) return *failure;
  if (const auto loss = put_back(deadline)) return *loss;
  if (const auto loss = let_go()) return *loss;
  const auto stood_still = std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - chosen.asked);
  if (failure) return *failure;
  if (const auto loss = verify(deadline)) return *loss;
  return Injected{tracee_->tid(), stood_still};
}

/// All living threads, none of them traced, and all with the same number of filters.
std::optional<NotInjected> Injection::census() {
  bool first = true;
  for (const pid_t tid : process_.tasks()) {
    auto found = process_.task(tid);
    if (!found.ok() || found.value().dead() || process_.ending(tid)) continue;
    const Task& task = found.value();
    if (task.tracer != 0) return refused("traced", EBUSY, tid);
    if (task.seccomp_mode == 1) return refused("seccomp", EINVAL, tid);
    if (task.filters < 0) return refused("verify", ENOSYS, tid);
    if (first) filters_before_ = task.filters;
    first = false;
    if (task.filters != filters_before_) return refused("tsync", ESRCH, tid);
    // io_uring and vhost workers get the filter with the rest, but cannot carry a call.
    if (!process_.kernel_worker(tid)) living_.push_back(tid);
  }
  if (living_.empty()) return refused("process", ESRCH, options_.pid);
  return {};
}

/// Asks the installed filters, where we may read them, and the new one about the calls that will be injected. A filter that answers with a
/// kill would otherwise take the process with it. Addresses are not known yet and given as one that could be: no sane filter judges them.
std::optional<NotInjected> Injection::foresee_refusal() {
  tell("foresee");
  std::vector<sock_filter> program(options_.program.size() / sizeof(sock_filter));
  std::memcpy(program.data(), options_.program.data(), options_.program.size());
  constexpr std::uint64_t somewhere = 0x7f0000000000;
  const auto allows = [this](std::span<const sock_filter> filter, long number, const arch::Arguments& arguments) {
    seccomp_data call{};
    call.nr = static_cast<int>(number);
    call.arch = arch::audit_arch;
    call.instruction_pointer = instruction_ + arch::syscall_instruction.size();
    std::copy(arguments.begin(), arguments.end(), call.args);
    return lets_happen(simulate(filter, call));
  };
  if (!allows(program, SYS_munmap, unmap_arguments(somewhere, scratch_length()))) return refused("program", EINVAL, tracee_->tid());
  auto installed = installed_filters(tracee_->tid());
  // Not permitted to read them: then the calls tell, which is as good unless the filter kills.
  if (!installed.ok()) return {};
  for (const auto& filter : installed.value()) {
    if (!allows(filter, SYS_mmap, map_arguments(scratch_length()))) return refused("mmap", EPERM, tracee_->tid());
    if (!allows(filter, SYS_munmap, unmap_arguments(somewhere, scratch_length()))) return refused("munmap", EPERM, tracee_->tid());
    if (!allows(filter, SYS_seccomp, install_arguments(somewhere))) return refused("seccomp", EPERM, tracee_->tid());
  }
  return {};
}

/// Saves what will be changed and makes the death of this thread the death of the process. A failure: nothing was changed.
std::optional<NotInjected> Injection::prepare() {
  const pid_t tid = tracee_->tid();
  tell("save");
  if (const Outcome failed = hide_interruption(*tracee_, process_)) return refused("save", failed->error, tid);
  auto registers = tracee_->registers();
  if (!registers.ok()) return refused("save", registers.failure().error, tid);
  auto vector_state = tracee_->vector_state();
  if (!vector_state.ok()) return refused("save", vector_state.failure().error, tid);
  auto mask = tracee_->signal_mask();
  if (!mask.ok()) return refused("save", mask.failure().error, tid);
  saved_ = {registers.value(), std::move(vector_state.value()), mask.value(), rseq_section(*tracee_)};
  tell("exitkill");
  if (const Outcome failed = tracee_->set_options(PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD)) return refused("exitkill", failed->error, tid);
  return {};
}

/// Mustn't: read a result before a confirmed exit. Leaves behind: the thread at a stop, its registers and signal mask changed. A
/// refusal that is not dirty: the filter is on no thread, and the scratch memory is gone.
std::optional<NotInjected> Injection::install(const Deadline& deadline) {
  const pid_t tid = tracee_->tid();
  tell("mask");
  constexpr std::uint64_t all_but_sigsys = ~(1ULL << (SIGSYS - 1));
  if (const Outcome failed = tracee_->set_signal_mask(all_but_sigsys)) return lost("mask", failed->error);
  const auto call = [&](long number, const arch::Arguments& arguments) {
    return call_in_thread(*tracee_, saved_.registers, instruction_, number, arguments, deadline);
  };

  tell("mmap");
  auto mapped = call(SYS_mmap, map_arguments(scratch_length()));
  if (!mapped.ok()) return lost("mmap", mapped.failure().error);
  if (mapped.value() < 0) return refused("mmap", static_cast<int>(-mapped.value()), tid);
  const auto scratch = static_cast<std::uint64_t>(mapped.value());

  tell("write");
  std::vector<std::uint8_t> content(sizeof(ProgramHeader) + options_.program.size());
  const ProgramHeader header{static_cast<std::uint16_t>(options_.program.size() / sizeof(sock_filter)), {}, scratch + sizeof(ProgramHeader)};
  std::memcpy(content.data(), &header, sizeof header);
  std::memcpy(content.data() + sizeof header, options_.program.data(), options_.program.size());
  if (const Outcome failed = tracee_->write_memory(scratch, content)) return lost("write", failed->error);

  tell("seccomp");
  auto installed = call(SYS_seccomp, install_arguments(scratch));
  if (!installed.ok()) return lost("seccomp", installed.failure().error);

  tell("munmap");
  auto unmapped = call(SYS_munmap, unmap_arguments(scratch, scratch_length()));
  if (!unmapped.ok()) return lost("munmap", unmapped.failure().error);
  if (unmapped.value() != 0) return lost("munmap", static_cast<int>(-unmapped.value()));

  if (installed.value() < 0) return refused("seccomp", static_cast<int>(-installed.value()), tid);
  // A thread that has filters which ours has not (seccomp(2), SECCOMP_FILTER_FLAG_TSYNC).
  if (installed.value() > 0) return refused("tsync", ESRCH, visible_tid(static_cast<pid_t>(installed.value())));
  return {};
}

/// Puts everything back at an event stop, not at the exit stop: only after an event stop does the kernel look at orig_rax and rax and
/// restart the call that we interrupted, or hand it to restart_syscall(2). At an exit stop the program would see -ERESTARTSYS.
std::optional<NotInjected> Injection::put_back(const Deadline& deadline) {
  tell("return");
  // install() may have left the thread at an event stop already (after a trap); the interrupt then gives another one.
  if (const Outcome failed = tracee_->interrupt()) return lost("return", failed->error);
  if (const Outcome failed = tracee_->resume(PTRACE_CONT, 0)) return lost("return", failed->error);
  for (;;) {
    auto stop = tracee_->wait_stop(deadline);
    if (!stop.ok()) return lost("return", stop.failure().error);
    if (stop.value().kind == StopKind::event) break;
    if (stop.value().kind != StopKind::signal) return lost("return", EPROTO);
    if (const Outcome failed = postpone_signal(*tracee_, PTRACE_CONT, stop.value().signal)) return lost("return", failed->error);
  }
  tell("restore");
  if (const Outcome failed = tracee_->set_registers(saved_.registers)) return lost("restore", failed->error);
  if (const Outcome failed = tracee_->set_signal_mask(saved_.signal_mask)) return lost("restore", failed->error);
  if (const Outcome failed = restore_rseq_section(*tracee_, saved_.rseq_section)) return lost("restore", failed->error);
  auto registers = tracee_->registers();
  if (!registers.ok()) return lost("restore", registers.failure().error);
  if (std::memcmp(&registers.value(), &saved_.registers, sizeof saved_.registers) != 0) return lost("registers", EIO);
  auto vector_state = tracee_->vector_state();
  if (!vector_state.ok()) return lost("restore", vector_state.failure().error);
  if (vector_state.value() != saved_.vector_state) return lost("registers", EIO);
  return {};
}

/// Detaching drops EXITKILL in the same step.
std::optional<NotInjected> Injection::let_go() {
  tell("detach");
  if (const Outcome failed = tracee_->detach()) return lost("detach", failed->error);
  return {};
}

/// From outside: one filter more on every thread, those included that were created meanwhile. Ends when a pass finds no thread that it has
/// not seen; a thread created after that has its filters from one that was checked.
std::optional<NotInjected> Injection::verify(const Deadline& deadline) {
  tell("verify");
  std::set<pid_t> verified;
  bool any_living = false;
  for (bool found_new = true; found_new;) {
    found_new = false;
    if (!process_.alive()) return lost("process", ESRCH);
    for (const pid_t tid : process_.tasks()) {
      if (verified.contains(tid)) continue;
      if (deadline.passed()) return lost("verify", ETIMEDOUT);
      auto task = process_.task(tid);
      found_new = true;
      verified.insert(tid);
      if (!task.ok() || task.value().dead()) continue;
      if (task.value().seccomp_mode == 2 && task.value().filters == filters_before_ + 1) {
        any_living = true;
        continue;
      }
      // The kernel synchronises no thread that has begun to end: it runs no more of the program.
      if (process_.ending(tid)) continue;
      return NotInjected{"verify", EPROTO, tid, true};
    }
  }
  if (!any_living) return lost("process", ESRCH);
  return {};
}

pid_t Injection::visible_tid(pid_t inner) const {
  for (const pid_t tid : process_.tasks())
    if (auto task = process_.task(tid); task.ok() && task.value().inner_tid == inner) return tid;
  return inner;
}

}  // namespace

std::variant<Injected, NotInjected> inject_filter(const InjectOptions& options) {
  const std::size_t size = options.program.size();
  if (size == 0 || size % sizeof(sock_filter) != 0 || size / sizeof(sock_filter) > longest_program)
    return NotInjected{"program", EINVAL, 0, false};
  auto outcome = on_tracer_thread([&options]() -> Outcomes {
    auto process = Process::pin(options.pid, options.pidfd);
    if (!process.ok()) return NotInjected{"process", process.failure().error, options.pid, false};
    return Injection(options, process.value()).run();
  });
  if (!outcome.ok()) return NotInjected{"thread", outcome.failure().error, 0, false};
  return outcome.value();
}

}  // namespace ratchet
