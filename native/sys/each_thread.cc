// SPDX-License-Identifier: Apache-2.0
#include "sys/each_thread.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <set>

#include "sys/files.h"

namespace ratchet {

namespace {

#ifdef __GLIBC__
constexpr int broadcast_signal = 33;  // SIGSETXID, in nptl/descr.h.
#else
constexpr int broadcast_signal = 34;  // SIGSYNCCALL, in musl's pthread_impl.h.
#endif

constexpr int patience_seconds = 5;

/// Static, so that a handler that comes late finds it still.
struct {
  std::atomic<ThreadJob> job{nullptr};
  std::atomic<void*> data{nullptr};
  std::atomic<pid_t> target{0};
  std::atomic<std::uint32_t> answer{0};  // A futex: 0 waits, else 1 + errno.
} turn;

void on_signal(int, siginfo_t* info, void*) {
  const int before = errno;
  // Only from this very process, and only for the thread whose turn it is.
  if (info->si_code == SI_TKILL && info->si_pid == ::getpid() && turn.target == static_cast<pid_t>(::syscall(SYS_gettid))) {
    turn.target = 0;
    turn.answer = 1U + static_cast<std::uint32_t>(turn.job.load()(turn.data));
    ::syscall(SYS_futex, &turn.answer, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
  }
  errno = before;
}

/// struct sigaction as the kernel has it: the C library refuses its own signals.
struct KernelAction {
  void (*handler)(int, siginfo_t*, void*);
  unsigned long flags;
#ifdef __x86_64__
  void (*restorer)();
#endif
  std::uint64_t mask;
};

#ifdef __x86_64__
/// x86_64 has no default way back from a handler (sigreturn(2)).
__attribute__((naked)) void return_from_handler() { asm("mov $15, %eax\n\tsyscall"); }
#endif

class BroadcastHandler {
 public:
  BroadcastHandler() {
    KernelAction action{};
    action.handler = on_signal;
    action.flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK;
#ifdef __x86_64__
    action.flags |= 0x04000000;  // SA_RESTORER, not in libc's headers.
    action.restorer = return_from_handler;
#endif
    action.mask = ~std::uint64_t{0};
    installed_ = ::syscall(SYS_rt_sigaction, broadcast_signal, &action, &before_, sizeof action.mask) == 0;
  }
  ~BroadcastHandler() {
    if (installed_) ::syscall(SYS_rt_sigaction, broadcast_signal, &before_, nullptr, sizeof before_.mask);
  }
  BroadcastHandler(const BroadcastHandler&) = delete;
  BroadcastHandler& operator=(const BroadcastHandler&) = delete;
  bool installed() const { return installed_; }

 private:
  KernelAction before_{};
  bool installed_ = false;
};

/// Where threads may open nothing any more the file thread looks.
Result<std::set<pid_t>> all_threads() {
  auto directory = open_file(AT_FDCWD, "/proc/self/task", O_RDONLY | O_DIRECTORY, 0, 0);
  if (!directory.ok()) return directory.failure();
  std::set<pid_t> found;
  alignas(dirent) char buffer[4096];
  for (;;) {
    const long size = ::syscall(SYS_getdents64, directory.value().get(), buffer, sizeof buffer);
    if (size < 0) return last_failure("getdents64");
    if (size == 0) return found;
    for (long at = 0; at < size;) {
      // linux_dirent64 has the members of the C libraries' dirent on 64-bit systems (getdents(2)).
      const auto* entry = reinterpret_cast<const dirent*>(buffer + at);
      if (const pid_t tid = ::atoi(entry->d_name); tid > 0) found.insert(tid);
      at += entry->d_reclen;
    }
  }
}

bool is_gone(pid_t tid) { return ::syscall(SYS_tgkill, ::getpid(), tid, 0) < 0 && errno == ESRCH; }

Outcome run_in(pid_t tid) {
  turn.answer = 0;
  turn.target = tid;
  if (::syscall(SYS_tgkill, ::getpid(), tid, broadcast_signal) < 0) {
    if (errno == ESRCH) return {};
    return last_failure("tgkill");
  }
  for (int tries = 0; turn.answer == 0; ++tries) {
    constexpr timespec moment{0, 20'000'000};
    ::syscall(SYS_futex, &turn.answer, FUTEX_WAIT_PRIVATE, 0, &moment, nullptr, 0);
    if (turn.answer != 0) break;
    if (is_gone(tid)) return {};
    if (tries > patience_seconds * 50) return Failure{ETIMEDOUT, "tgkill"};
  }
  if (turn.answer != 1) return Failure{static_cast<int>(turn.answer - 1), "thread"};
  return {};
}

}  // namespace

Outcome run_in_each_thread(ThreadJob job, void* data, pid_t except) {
  const BroadcastHandler handler;
  if (!handler.installed()) return last_failure("rt_sigaction");
  turn.job = job;
  turn.data = data;
  const auto self = static_cast<pid_t>(::syscall(SYS_gettid));
  std::set<pid_t> done;
  if (except != 0) done.insert(except);
  for (bool found = true; found;) {
    auto threads = all_threads();
    if (!threads.ok()) return threads.failure();
    found = false;
    for (const pid_t tid : threads.value()) {
      if (!done.insert(tid).second) continue;
      found = true;
      if (tid == self) {
        if (const int error = job(data); error != 0) return Failure{error, "thread"};
      } else if (const Outcome failed = run_in(tid)) {
        return failed;
      }
    }
  }
  return {};
}

}  // namespace ratchet
