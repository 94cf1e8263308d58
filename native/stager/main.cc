// SPDX-License-Identifier: Apache-2.0
//
// ratchet-stager: the program that runs between the launcher and the VMM. It takes away, once and for all, what the VMM
// must not have, and then becomes the VMM.
//
// Theory of operation
//
// A filter that is in place before the VMM's first instruction has to be installed by the process that executes the VMM,
// and an installed filter must not leave that process the means to execute a second program. Nothing in a filter can
// count, and nothing in it can read a path; so two things hold the one exec together.
//   - The start filter leaves execveat to the broker, which lets the first call go on and no other. The first can only be ours:
//     it follows the hand-over of the listener, before any code of the VMM has run. Later stages refuse the call in the kernel.
//   - It does so only for fd 16383 and AT_EMPTY_PATH. The program file is held as that fd, and then RLIMIT_NOFILE goes down to
//     at most 16383, soft and hard. The exec closes the fd, and no later call can make one of that number. This alone would not
//     be enough: with AT_EMPTY_PATH an absolute path is executed all the same, whatever the fd (execveat(2)).
//
// The launcher starts us with the fds it wants to pass on (--keep), a memory file with the start filter (--filter-fd)
// and one end of a SOCK_SEQPACKET pair (--status-fd). On that pair we say
//     {"step":"born","pid":NUMBER}             with the pidfd of the program-to-be over SCM_RIGHTS, when it is in a pid namespace: whoever says
//                                              this ends then, and what follows is said by its sibling;
//     {"step":"listener","waitKillable":BOOL,"signalScope":BOOL}  with the notification listener over SCM_RIGHTS, once the filter
//                                              is on;
//     {"step":"filter","signalScope":BOOL}     instead, with --no-listener: nobody counts execs then, so the filter must refuse a
//                                              second one by other means; and with --no-filter, for a program that filters itself;
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
#include <string.h>

#include "empty_root.h"
#include "report.h"
#include "steps.h"

int main(int argc, char** argv) {
  // The other thing that a small static program is needed for.
  if (argc > 1 && strcmp(argv[1], "--empty-root") == 0) return empty_root(argc - 2, argv + 2);
  static Plan plan;  // Zeroed, and large: not on the stack.
  parse_arguments(argc, argv, plan);
  read_filter(plan);
  tie_to_parent(plan);
  reset_signals();
  check_kept_fds(plan);
  enter_cgroup(plan);
  hold_program(plan);
  set_limits(plan);
  close_other_fds(plan);
  enter_namespaces(plan);
  enter_pid_namespace(plan);
  tie_to_parent(plan);
  open_label(plan);
  make_root(plan);
  lock_securebits(plan);
  drop_capabilities(plan);
  become_user(plan);
  tie_to_parent(plan);
  forbid_new_privileges();
  make_rulesets(plan);
  confine_by_landlock(plan);
  const bool signals_scoped = scope_signals(plan);
  label_exec(plan);
  const Installed installed = install_filter(plan);
  hand_over_listener(installed, signals_scoped);
  become_program(plan);
}
