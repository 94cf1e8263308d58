// SPDX-License-Identifier: Apache-2.0
//
// ratchet-probe: finds out what this kernel, and this user on it, can enforce. By doing it: version numbers lie where vendors backport
// or containers filter. Prints one JSON object a line, {"probe":NAME,"errno":NUMBER,"detail":TEXT}; errno 0 means that it works. What
// a miss costs and how to cure it is `ratchet doctor`'s to say. With names, only those probes.
//
// Each probe runs in a child of its own, since most cannot be undone. One that does not end within its time is killed and
// reported as ETIMEDOUT. Nothing is left behind: no file, no process, no setting.
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "probe.h"

namespace {

struct Named {
  const char* name;
  Probe probe;
};

constexpr Named probes[] = {
    {"filter", probe_filter},
    {"actions", probe_actions},
    {"tsync", probe_tsync},
    {"filter-count", probe_filter_count},
    {"own-filters", probe_own_filters},
    {"listener", probe_listener},
    {"wait-killable", probe_wait_killable},
    {"wait-killable-race", probe_wait_killable_race},
    {"sync-wake-up", probe_sync_wake_up},
    {"addfd", probe_addfd},
    {"pidfd-getfd", probe_pidfd_getfd},
    {"pidfd-thread", probe_pidfd_thread},
    {"read-memory", probe_read_memory},
    {"ptrace", probe_ptrace},
    {"read-back", probe_read_back},
    {"yama", probe_yama},
    {"open-files", probe_open_files},
    {"close-range", probe_close_range},
    {"signal-scope", probe_signal_scope},
    {"landlock", probe_landlock},
    {"user-namespaces", probe_user_namespaces},
    {"pid-namespaces", probe_pid_namespaces},
    {"own-root", probe_own_root},
    {"cgroup", probe_cgroup},
    {"io-uring", probe_io_uring},
    {"userfaultfd", probe_userfaultfd},
    {"kvm", probe_kvm},
    {"tun", probe_tun},
    {"audit", probe_audit},
    {"kernel-log", probe_kernel_log},
};

constexpr unsigned int seconds_each = 5;

/// The child's answer, or why there is none.
Finding run(Probe probe) {
  int ends[2];
  if (pipe(ends) < 0) return failed("pipe");
  const pid_t child = fork();
  if (child < 0) return failed("fork");
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, static_cast<unsigned long>(SIGKILL), 0UL, 0UL, 0UL);
    alarm(seconds_each);
    const Finding finding = probe();
    _exit(write(ends[1], &finding, sizeof finding) == sizeof finding ? 0 : 1);
  }
  close(ends[1]);
  Finding finding{};
  const ssize_t count = read(ends[0], &finding, sizeof finding);
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  if (count == sizeof finding) return finding;
  if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM) return failed_with(ETIMEDOUT, "no answer");
  return failed_with(EPROTO, WIFSIGNALED(status) ? "killed by a signal" : "ended without an answer");
}

bool among(const char* name, int count, char** names) {
  for (int index = 0; index < count; ++index) {
    if (strcmp(names[index], name) == 0) return true;
  }
  return false;
}

}  // namespace

Finding works() { return Finding{}; }

Finding works_with(const char* format, ...) {
  Finding finding{};
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(finding.detail, sizeof finding.detail, format, arguments);
  va_end(arguments);
  return finding;
}

Finding failed(const char* call) { return failed_with(errno, call); }

Finding failed_with(int error, const char* detail) {
  Finding finding{};
  finding.error = error;
  snprintf(finding.detail, sizeof finding.detail, "%s", detail);
  return finding;
}

int main(int argc, char** argv) {
  for (const auto& [name, probe] : probes) {
    if (argc > 1 && !among(name, argc - 1, argv + 1)) continue;
    const Finding finding = run(probe);
    printf("{\"probe\":\"%s\",\"errno\":%d,\"detail\":\"%s\"}\n", name, finding.error, finding.detail);
    fflush(stdout);
  }
  return 0;
}
