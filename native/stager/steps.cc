// SPDX-License-Identifier: Apache-2.0
#include "steps.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

#include "report.h"

// Newer than the oldest headers we build with; from include/uapi/linux/seccomp.h, Linux 5.19.
#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif

void read_filter(Plan& plan) {
  constexpr const char* step = "filter-read";
  if (plan.filter_fd < 0) return;
  struct stat status;
  if (fstat(plan.filter_fd, &status) < 0) fail(step, errno);
  const auto size = static_cast<size_t>(status.st_size);
  if (size == 0 || size % sizeof(sock_filter) != 0) fail(step, EINVAL);
  if (size > sizeof plan.instructions) fail(step, E2BIG);
  size_t have = 0;
  while (have < size) {
    // From the start, whatever the offset that we share with the launcher is.
    const ssize_t count = pread(plan.filter_fd, reinterpret_cast<char*>(plan.instructions) + have, size - have, static_cast<off_t>(have));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail(step, errno);
    if (count == 0) fail(step, EINVAL);  // Shorter than it said: somebody is writing to it.
    have += static_cast<size_t>(count);
  }
  plan.instruction_count = static_cast<unsigned short>(size / sizeof(sock_filter));
}

void tie_to_parent(const Plan& plan) {
  if (plan.parent_pid == 0) return;
  if (prctl(PR_SET_PDEATHSIG, static_cast<unsigned long>(SIGKILL), 0UL, 0UL, 0UL) < 0) fail("parent", errno);
  const bool ended = plan.parent_pidfd > 0 ? parent_ended(plan) : getppid() != plan.parent_pid;
  if (ended) fail("parent", ESRCH);
}

void reset_signals() {
  constexpr size_t kernel_set_size = 8;  // sizeof(sigset_t) in the kernel; libc's is larger.
  constexpr int last_signal = 64;
  // All zeros is SIG_DFL with no flags and an empty mask, whatever the order of struct sigaction's members on this architecture.
  const unsigned long zeros[16] = {};
  for (int number = 1; number <= last_signal; ++number) {
    if (number == SIGKILL || number == SIGSTOP) continue;  // Always the default; the kernel refuses the attempt.
    if (syscall(SYS_rt_sigaction, number, zeros, nullptr, kernel_set_size) < 0) fail("signals", errno);
  }
  if (syscall(SYS_rt_sigprocmask, SIG_SETMASK, zeros, nullptr, kernel_set_size) < 0) fail("signals", errno);
}

void check_kept_fds(const Plan& plan) {
  if (fcntl(plan.status_fd, F_GETFD) < 0) fail("keep", errno);
  if (plan.cgroup_fd >= 0 && fcntl(plan.cgroup_fd, F_GETFD) < 0) fail("keep", errno);
  for (int index = 0; index < plan.kept_count; ++index) {
    if (fcntl(plan.kept_fds[index], F_GETFD) < 0) fail("keep", errno);
  }
}

void hold_program(Plan& plan) {
  const int fd = open(plan.program, O_PATH | O_CLOEXEC);
  if (fd < 0) fail("exec-open", errno);

  if (getrlimit(RLIMIT_NOFILE, &plan.inherited_fd_limit) < 0) fail("exec-fd", errno);
  rlimit raised = plan.inherited_fd_limit;
  constexpr rlim_t enough = exec_fd + 1;
  if (raised.rlim_max < enough) raised.rlim_max = enough;
  if (raised.rlim_cur < enough) raised.rlim_cur = enough;
  if (setrlimit(RLIMIT_NOFILE, &raised) < 0) fail("exec-fd", errno);

  if (fd == exec_fd) return;  // With all numbers below taken.
  // If the launcher left an fd there, it was not to be kept.
  if (dup3(fd, exec_fd, O_CLOEXEC) < 0) fail("exec-fd", errno);
  close(fd);
}

void set_limits(Plan& plan) {
  rlimit fd_limit = plan.inherited_fd_limit;
  for (int index = 0; index < plan.limit_count; ++index) {
    const Limit& limit = plan.limits[index];
    if (limit.resource == RLIMIT_NOFILE) {
      fd_limit = limit.value;
    } else if (setrlimit(static_cast<__rlimit_resource_t>(limit.resource), &limit.value) < 0) {
      fail("rlimit", errno);
    }
  }
  // A limit of n allows numbers up to n - 1.
  const auto most = static_cast<rlim_t>(lowest_own_fd(plan));
  plan.fd_limit = {std::min(fd_limit.rlim_cur, most), std::min(fd_limit.rlim_max, most)};
  constexpr rlimit for_rulesets{exec_fd, exec_fd};
  if (setrlimit(RLIMIT_NOFILE, plan.ruleset_count == 0 ? &plan.fd_limit : &for_rulesets) < 0) fail("rlimit", errno);
}

namespace {

void close_between(unsigned int first, unsigned int last) {
  if (first > last) return;
  if (syscall(SYS_close_range, first, last, 0U) < 0) fail("fds", errno);
}

}  // namespace

void close_other_fds(const Plan& plan) {
  const int ours[] = {plan.status_fd, exec_fd};  // Ascending: parse_arguments takes no status fd from 16383 on.
  int open_fds[max_kept_fds + 2];
  const int* end = std::merge(plan.kept_fds, plan.kept_fds + plan.kept_count, ours, ours + 2, open_fds);
  unsigned int next = 0;
  for (const int* fd = open_fds; fd != end; ++fd) {
    if (*fd > 0) close_between(next, static_cast<unsigned int>(*fd) - 1);
    next = static_cast<unsigned int>(*fd) + 1;
  }
  close_between(next, ~0U);

  for (int index = 0; index < plan.kept_count; ++index) {
    if (fcntl(plan.kept_fds[index], F_SETFD, 0) < 0) fail("fds", errno);
  }
  if (fcntl(plan.status_fd, F_SETFD, FD_CLOEXEC) < 0) fail("fds", errno);
}

namespace {

struct Capabilities {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3] = {};

  bool read() { return syscall(SYS_capget, &header, sets) == 0; }
  bool write() { return syscall(SYS_capset, &header, sets) == 0; }
  bool none_permitted() const { return sets[0].permitted == 0 && sets[1].permitted == 0; }
};

}  // namespace

void drop_capabilities(const Plan& plan) {
  constexpr const char* step = "capabilities";
  if (!plan.drop_capabilities) return;
  Capabilities capabilities;
  if (!capabilities.read()) fail(step, errno);

  // Reading fails with EINVAL behind the last one that this kernel knows (capabilities(7)).
  for (unsigned long number = 0; prctl(PR_CAPBSET_READ, number, 0UL, 0UL, 0UL) >= 0; ++number) {
    if (prctl(PR_CAPBSET_DROP, number, 0UL, 0UL, 0UL) == 0) continue;
    if (errno == EPERM && capabilities.none_permitted()) break;  // Under no_new_privs the set gives nothing to who has nothing.
    fail(step, errno);
  }
  if (prctl(PR_CAP_AMBIENT, static_cast<unsigned long>(PR_CAP_AMBIENT_CLEAR_ALL), 0UL, 0UL, 0UL) < 0) fail(step, errno);
  for (__user_cap_data_struct& set : capabilities.sets) set.inheritable = 0;
  if (!capabilities.write()) fail(step, errno);
}

void forbid_new_privileges() {
  if (prctl(PR_SET_NO_NEW_PRIVS, 1UL, 0UL, 0UL, 0UL) < 0) fail("no-new-privs", errno);
}

bool scope_signals(const Plan& plan) {
  constexpr unsigned long landlock_scope_signal = 1UL << 1;
  if ((plan.landlock.scoped & landlock_scope_signal) != 0) return true;
  if (!plan.scope_signals) return false;
  // From include/uapi/linux/landlock.h, Linux 6.12 (ABI 6); the headers that we build with may be older.
  struct {
    uint64_t handled_access_fs;
    uint64_t handled_access_net;
    uint64_t scoped;
  } const rules{0, 0, 1ULL << 1};  // LANDLOCK_SCOPE_SIGNAL
  const long ruleset = syscall(SYS_landlock_create_ruleset, &rules, sizeof rules, 0U);
  if (ruleset < 0) {
    // ENOSYS and EOPNOTSUPP: no Landlock; E2BIG and EINVAL: one that does not know the scope.
    if (errno == ENOSYS || errno == EOPNOTSUPP || errno == E2BIG || errno == EINVAL) return false;
    fail("scope", errno);
  }
  if (syscall(SYS_landlock_restrict_self, ruleset, 0U) < 0) fail("scope", errno);
  close(static_cast<int>(ruleset));
  return true;
}

Installed install_filter(const Plan& plan) {
  if (plan.filter_fd < 0) return {-1, false};
  // The kernel only reads the program; its struct has no const form.
  const sock_fprog program{plan.instruction_count, const_cast<sock_filter*>(plan.instructions)};
  constexpr unsigned long wanted = SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
  const auto install = [&program](unsigned long flags) { return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program); };

  if (!plan.listener) {
    if (install(0) < 0) fail("filter", errno);
    return {-1, false};
  }
  bool wait_killable = true;
  long listener_fd = install(wanted);
  if (listener_fd < 0 && errno == EINVAL) {
    // A kernel that does not know the flag says EINVAL, as for a bad program: that one fails again.
    wait_killable = false;
    listener_fd = install(SECCOMP_FILTER_FLAG_NEW_LISTENER);
  }
  if (listener_fd < 0) fail("filter", errno);
  return {static_cast<int>(listener_fd), wait_killable};
}

void hand_over_listener(const Installed& installed, bool signals_scoped) {
  const auto truth = [](bool value) { return value ? "true" : "false"; };
  char text[96];
  if (installed.listener_fd < 0) {
    snprintf(text, sizeof text, "{\"step\":\"filter\",\"signalScope\":%s}", truth(signals_scoped));
  } else {
    snprintf(text, sizeof text, "{\"step\":\"listener\",\"waitKillable\":%s,\"signalScope\":%s}", truth(installed.wait_killable),
             truth(signals_scoped));
  }
  if (!send_packet(text, installed.listener_fd)) fail("listener", errno);
  if (installed.listener_fd >= 0) close(installed.listener_fd);
}

void become_program(const Plan& plan) {
  syscall(SYS_execveat, exec_fd, "", plan.argv, environ, AT_EMPTY_PATH);
  fail("exec", errno);
}
