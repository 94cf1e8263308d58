// SPDX-License-Identifier: Apache-2.0
// The step `pid-namespace`.
#include <errno.h>
#include <linux/sched.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "report.h"
#include "steps.h"

namespace {

constexpr const char* step = "pid-namespace";

/// Who it is goes to the launcher before it goes on.
[[noreturn]] void tell_and_end(pid_t child, int pidfd, int go_on) {
  char text[64];
  snprintf(text, sizeof text, "{\"step\":\"born\",\"pid\":%d}", child);
  if (!send_packet(text, pidfd)) fail(step, errno);
  if (write(go_on, "", 1) != 1) fail(step, errno);
  _exit(0);
}

}  // namespace

void enter_pid_namespace(Plan& plan) {
  if ((plan.namespaces & CLONE_NEWPID) == 0) return;
  if (plan.parent_pid != 0) {
    plan.parent_pidfd = static_cast<int>(syscall(SYS_pidfd_open, plan.parent_pid, 0));
    // Of our parent, unless that had ended.
    if (plan.parent_pidfd < 0 || getppid() != plan.parent_pid) fail(step, plan.parent_pidfd < 0 ? errno : ESRCH);
  }
  int told[2];
  if (pipe(told) < 0) fail(step, errno);

  int pidfd = -1;
  clone_args arguments{};
  // A sibling of ours, not a child: with it the launcher's waitpid, and the signal that its end sends (exit_signal is then taken from us).
  arguments.flags = CLONE_PARENT | CLONE_PIDFD;
  arguments.pidfd = reinterpret_cast<uint64_t>(&pidfd);
  const long child = syscall(SYS_clone3, &arguments, sizeof arguments);
  if (child < 0) fail(step, errno);
  if (child > 0) tell_and_end(static_cast<pid_t>(child), pidfd, told[1]);

  close(told[1]);
  char byte;
  // End of file without a byte: whoever made us could not tell of us.
  if (read(told[0], &byte, 1) != 1) fail(step, EPIPE);
  close(told[0]);
}

bool parent_ended(const Plan& plan) {
  // From inside the namespace the parent has no number.
  pollfd ended{plan.parent_pidfd, POLLIN, 0};
  const int count = poll(&ended, 1, 0);
  if (count < 0) fail("parent", errno);
  return count > 0;
}
