// SPDX-License-Identifier: Apache-2.0
//
// ratchet-stager: the program that runs between the launcher and the VMM. It takes away, once and for all, what the VMM
// must not have, and then becomes the VMM.
//
// Theory of operation
//
// A filter that is in place before the VMM's first instruction has to be installed by the process that executes the VMM,
// and an installed filter must not leave that process the means to execute a second program. Nothing in a filter can
// count, so the one execve is told apart by something that can exist only once: the number of a file descriptor. The
// program file is held as fd 16383, then RLIMIT_NOFILE goes down to at most 16383, soft and hard. The start filter allows
// execveat only with that fd and AT_EMPTY_PATH. The exec closes the fd (it is close-on-exec), and no later call can make
// an fd of that number again: dup2, fcntl(F_DUPFD), SCM_RIGHTS and pidfd_getfd are all bound by the limit, and the same
// filter refuses to raise the limit.
//
// The launcher starts us with the fds it wants to pass on (--keep), a memory file with the start filter (--filter-fd)
// and one end of a SOCK_SEQPACKET pair (--status-fd). On that pair we say
//     {"step":"listener","waitKillable":true}  with the notification listener over SCM_RIGHTS, once the filter is on;
//     {"step":"filter"}                        instead, with --no-listener;
//     {"step":NAME,"errno":NUMBER}             when the step NAME failed; we exit with 127 then.
// The end of the pair without a failure means that the exec has happened (or that somebody killed us: the launcher sees
// which by our exit status).
//
// The steps run in the order of main(). Each of their headers in steps.h says what it should do, what it mustn't, what it
// needs from those before and what it leaves behind. From the step `filter` on nobody answers a notification yet, so
// only calls that a start filter never notifies are made: sendmsg, close, execveat, exit_group and write.
//
// There are no defaults of policy: what is not on the command line is not done.

#include "arguments.h"
#include "report.h"
#include "steps.h"

int main(int argc, char** argv) {
  static Plan plan;  // Zeroed, and large: not on the stack.
  parse_arguments(argc, argv, plan);
  read_filter(plan);
  tie_to_parent(plan);
  reset_signals();
  check_kept_fds(plan);
  hold_program(plan);
  set_limits(plan);
  close_other_fds(plan);
  drop_capabilities(plan);
  forbid_new_privileges();
  const Installed installed = install_filter(plan);
  hand_over_listener(installed);
  become_program(plan);
}
