// SPDX-License-Identifier: Apache-2.0
#include "sys/file_thread.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <mutex>
#include <thread>

#include "sys/self.h"

namespace ratchet {

namespace {

/// One word, on which the kernel lets either side sleep: a caller that waits, or the thread itself. Two wakes a job, where a condition variable takes six.
class FileThread {
 public:
  void run(const std::function<void()>& work) {
    const std::lock_guard one_at_a_time(turn_);
    work_ = &work;
    posted_.store(1, std::memory_order_release);
    posted_.notify_one();
    posted_.wait(1, std::memory_order_acquire);
  }

  [[noreturn]] void serve() {
    ::prctl(PR_SET_NAME, "ratchet-files");
    for (;;) {
      posted_.wait(0, std::memory_order_acquire);
      (*work_)();
      posted_.store(0, std::memory_order_release);
      posted_.notify_one();
    }
  }

 private:
  std::mutex turn_;
  std::atomic<int> posted_ = 0;
  const std::function<void()>* work_ = nullptr;
};

/// Never deleted: the thread lives as long as the process.
FileThread* running = nullptr;

}  // namespace

void by_file_thread(const std::function<void()>& work) {
  if (running == nullptr) work();
  else running->run(work);
}

Result<pid_t> start_file_thread(int ruleset_fd) {
  if (running != nullptr) return Failure{EALREADY, "clone"};
  auto* const started = new FileThread;
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);  // The new thread inherits it: signals are the others' business.
  std::thread([started] { started->serve(); }).detach();
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  pid_t tid = 0;
  int error = 0;
  started->run([&] {
    tid = static_cast<pid_t>(::syscall(SYS_gettid));
    if (ruleset_fd >= 0) error = restrict_this_thread(ruleset_fd);
  });
  if (error != 0) return Failure{error, "landlock_restrict_self"};
  running = started;
  return tid;
}

Outcome filter_file_thread(const Programs& programs) {
  int error = 0;
  by_file_thread([&] { error = filter_this_thread(programs); });
  if (error != 0) return Failure{error, "seccomp"};
  return {};
}

}  // namespace ratchet
