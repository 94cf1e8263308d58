// SPDX-License-Identifier: Apache-2.0
#include "filters.h"

#include <linux/filter.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "probe.h"

long install(unsigned long flags, unsigned int action) {
  sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, probed_call, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, action),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog program{sizeof code / sizeof code[0], code};
  return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
}

void forbid_new_privileges() { prctl(PR_SET_NO_NEW_PRIVS, 1UL, 0UL, 0UL, 0UL); }

long own_status(const char* name) {
  FILE* file = fopen("/proc/thread-self/status", "re");
  if (file == nullptr) return -1;
  char line[256];
  long value = -1;
  const size_t length = strlen(name);
  while (value < 0 && fgets(line, sizeof line, file) != nullptr)
    if (strncmp(line, name, length) == 0 && line[length] == ':') value = strtol(line + length + 1, nullptr, 10);
  fclose(file);
  return value;
}

namespace {

bool refused() { return syscall(probed_call, 0) < 0 && errno == EXDEV; }

/// How a child ends that makes the call under `action`: its wait status.
int status_under(unsigned int action, void (*on_sigsys)(int)) {
  const pid_t child = fork();
  if (child == 0) {
    forbid_new_privileges();
    if (on_sigsys != nullptr) signal(SIGSYS, on_sigsys);
    if (install(0, action) < 0) _exit(1);
    _exit(syscall(probed_call, 0) >= 0 ? 2 : 3);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return status;
}

bool exited_with(int status, int code) { return WIFEXITED(status) && WEXITSTATUS(status) == code; }
bool died_of_sigsys(int status) { return WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS; }

void* try_call(void* barrier) {
  pthread_barrier_wait(static_cast<pthread_barrier_t*>(barrier));  // I am here.
  pthread_barrier_wait(static_cast<pthread_barrier_t*>(barrier));  // The filter is on.
  return refused() ? barrier : nullptr;
}

}  // namespace

Finding probe_filter() {
  forbid_new_privileges();
  if (install(0, SECCOMP_RET_ERRNO | EXDEV) < 0) return failed("seccomp");
  return refused() ? works() : failed_with(EPROTO, "the filter did not decide");
}

Finding probe_actions() {
  if (!died_of_sigsys(status_under(SECCOMP_RET_KILL_PROCESS, nullptr))) return failed_with(ENOSYS, "kill-process");
  if (!died_of_sigsys(status_under(SECCOMP_RET_KILL_THREAD, nullptr))) return failed_with(ENOSYS, "kill-thread");
  if (!exited_with(status_under(SECCOMP_RET_TRAP, [](int) { _exit(4); }), 4)) return failed_with(ENOSYS, "trap");
  if (!exited_with(status_under(SECCOMP_RET_LOG, nullptr), 2)) return failed_with(ENOSYS, "log");
  // Nobody traces us: the call is not made.
  if (!exited_with(status_under(SECCOMP_RET_TRACE, nullptr), 3)) return failed_with(ENOSYS, "trace");
  return works();
}

Finding probe_tsync() {
  forbid_new_privileges();
  pthread_barrier_t barrier;
  pthread_barrier_init(&barrier, nullptr, 2);
  pthread_t other;
  if (pthread_create(&other, nullptr, try_call, &barrier) != 0) return failed_with(EAGAIN, "pthread_create");
  pthread_barrier_wait(&barrier);
  const long installed = install(SECCOMP_FILTER_FLAG_TSYNC, SECCOMP_RET_ERRNO | EXDEV);
  const int error = errno;
  pthread_barrier_wait(&barrier);
  void* reached = nullptr;
  pthread_join(other, &reached);
  if (installed < 0) return failed_with(error, "seccomp");
  return reached == nullptr ? failed_with(EPROTO, "the other thread has no filter") : works();
}

Finding probe_filter_count() {
  const long before = own_status("Seccomp_filters");
  if (before < 0) return failed_with(ENOENT, "no Seccomp_filters in /proc/thread-self/status");
  forbid_new_privileges();
  if (install(0, SECCOMP_RET_ERRNO | EXDEV) < 0) return failed("seccomp");
  return own_status("Seccomp_filters") == before + 1 ? works() : failed_with(EPROTO, "the count did not grow");
}

Finding probe_own_filters() {
  const long count = own_status("Seccomp_filters");
  if (count > 0) return failed_with(EBUSY, "this process runs under filters of somebody else");
  return works();
}
