// SPDX-License-Identifier: Apache-2.0
// What a launcher does to its VMM, done to a child.
#include <fcntl.h>
#include <linux/filter.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "filters.h"
#include "probe.h"

// Newer than the oldest headers we build with; from include/uapi/linux/pidfd.h, Linux 6.9.
#ifndef PIDFD_THREAD
#define PIDFD_THREAD O_EXCL
#endif

namespace {

/// A child that waits to be killed; its pages are ours, so an address means the same there.
class Child {
 public:
  explicit Child(void (*prepare)() = nullptr) {
    int ends[2];
    if (pipe(ends) < 0) return;
    pid_ = fork();
    if (pid_ == 0) {
      if (prepare != nullptr) prepare();
      close(ends[1]);  // Tells that we are ready: the other copy is closed already.
      close(ends[0]);
      for (;;) pause();
    }
    close(ends[1]);
    char nothing;
    const ssize_t end = read(ends[0], &nothing, 1);
    static_cast<void>(end);  // End of file, whether it is ready or dead.
    close(ends[0]);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() {
    if (pid_ <= 0) return;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  pid_t pid() const { return pid_; }

 private:
  pid_t pid_ = -1;
};

bool stop(const Child& child) {
  if (ptrace(PTRACE_SEIZE, child.pid(), nullptr, PTRACE_O_EXITKILL) < 0) return false;
  if (ptrace(PTRACE_INTERRUPT, child.pid(), nullptr, nullptr) < 0) return false;
  int status = 0;
  return waitpid(child.pid(), &status, __WALL) == child.pid() && WIFSTOPPED(status);
}

void run_under_filter() {
  forbid_new_privileges();
  install(0, SECCOMP_RET_ERRNO | EXDEV);
}

const char* const yama_setting = "/proc/sys/kernel/yama/ptrace_scope";

}  // namespace

Finding probe_pidfd_getfd() {
  const Child child;
  const long pidfd = syscall(SYS_pidfd_open, child.pid(), 0U);
  if (pidfd < 0) return failed("pidfd_open");
  if (syscall(SYS_pidfd_getfd, pidfd, 0, 0U) >= 0) return works();
  // Without a standard input of its own it has at least the right to be told so.
  return errno == EBADF ? works() : failed("pidfd_getfd");
}

Finding probe_pidfd_thread() {
  const auto look = [](void*) -> void* {
    static int error;
    error = syscall(SYS_pidfd_open, gettid(), PIDFD_THREAD) < 0 ? errno : 0;
    return &error;
  };
  pthread_t thread;
  if (pthread_create(&thread, nullptr, look, nullptr) != 0) return failed_with(EAGAIN, "pthread_create");
  void* error = nullptr;
  pthread_join(thread, &error);
  errno = *static_cast<int*>(error);
  return errno == 0 ? works() : failed("pidfd_open");
}

Finding probe_read_memory() {
  static int secret = 41;
  const Child child([] { secret = 42; });
  int copy = 0;
  const iovec ours{&copy, sizeof copy};
  const iovec theirs{&secret, sizeof secret};
  if (process_vm_readv(child.pid(), &ours, 1, &theirs, 1, 0) < 0) return failed("process_vm_readv");
  return copy == 42 ? works() : failed_with(EPROTO, "read something else");
}

Finding probe_ptrace() {
  const Child child;
  if (!stop(child)) return failed("ptrace");
  __ptrace_syscall_info info;
  if (ptrace(PTRACE_GET_SYSCALL_INFO, child.pid(), sizeof info, &info) < 0) return failed("PTRACE_GET_SYSCALL_INFO");
  return works();
}

Finding probe_read_back() {
  const Child child(run_under_filter);
  if (!stop(child)) return failed("ptrace");
  const long length = ptrace(PTRACE_SECCOMP_GET_FILTER, child.pid(), 0L, nullptr);
  if (length < 0) return failed("PTRACE_SECCOMP_GET_FILTER");
  return length == 4 ? works() : failed_with(EPROTO, "another program than the installed one");
}

Finding probe_yama() {
  FILE* file = fopen(yama_setting, "re");
  if (file == nullptr) return works_with("not in this kernel");
  char text[16] = "";
  const bool read = fgets(text, sizeof text, file) != nullptr;
  fclose(file);
  const int scope = read ? atoi(text) : 0;
  return scope < 2 ? works_with("ptrace_scope %d", scope) : failed_with(EPERM, scope == 2 ? "ptrace_scope 2" : "ptrace_scope 3");
}

Finding probe_open_files() {
  constexpr rlim_t enough = 16384;  // The stager holds the program at number 16383.
  rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) < 0) return failed("getrlimit");
  if (limit.rlim_max >= enough) return works_with("hard limit %llu", static_cast<unsigned long long>(limit.rlim_max));
  limit.rlim_cur = enough;
  limit.rlim_max = enough;
  return setrlimit(RLIMIT_NOFILE, &limit) < 0 ? failed("setrlimit") : works_with("by raising the hard limit");
}
