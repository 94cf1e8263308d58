// SPDX-License-Identifier: Apache-2.0
// The steps, in the order in which main() takes them. Each either does all of its work or reports its name and errno and
// ends the process.
#pragma once

#include "arguments.h"

/// Step `filter-read`.
/// Should: copy the start filter from --filter-fd into memory.
/// Mustn't: judge it; the kernel does that when it is installed.
/// Needs: nothing.
/// Leaves behind: the program in the plan; nothing with --no-filter. An empty file, or one that is no whole number of instructions, is EINVAL; more
/// than 4096 instructions E2BIG.
void read_filter(Plan& plan);

/// Step `parent`.
/// Should: with --parent-pid, have the kernel kill us, and the VMM that we become, when the parent ends.
/// Mustn't: miss a parent that ended before: then getppid() is another already, and that is ESRCH.
/// Needs: to be a child of that process; the signal is sent when the *thread* that made us ends (PR_SET_PDEATHSIG(2const)).
/// Leaves behind: a setting that exec keeps, since the program is not set-user-ID and gains no capabilities.
void tie_to_parent(const Plan& plan);

/// Step `signals`.
/// Should: unblock all signals and undo every "ignored": both survive exec, and the VMM must not inherit the launcher's.
/// Mustn't: skip the numbers that libc keeps for itself: it would refuse, so the kernel is called directly.
/// Needs: nothing.
/// Leaves behind: defaults everywhere.
void reset_signals();

/// Step `keep`.
/// Should: find every kept fd and the status fd open.
/// Mustn't: come after anything that opens an fd, which could take the number of one that is missing.
/// Needs: the fds from the launcher.
/// Leaves behind: nothing; EBADF when one is not open.
void check_kept_fds(const Plan& plan);

/// Step `cgroup`.
/// Should: with --cgroup-fd, put ourselves into the control group whose cgroup.procs this is. What may be done by it was judged when the launcher opened it.
/// Mustn't: come after the namespaces: in a new one of control groups ours is the root.
/// Needs: check_kept_fds, so that the number is the launcher's.
/// Leaves behind: membership, which exec and children keep; close_other_fds closes the fd.
void enter_cgroup(const Plan& plan);

/// Steps `exec-open` and `exec-fd`.
/// Should: open the program (O_PATH: permission to execute is judged at exec) and give it the number 16383.
/// Mustn't: leave the number to a lower limit: RLIMIT_NOFILE is raised to 16384 for the moment, which takes
/// CAP_SYS_RESOURCE when the hard limit is lower than that (EPERM otherwise, and when fs.nr_open is lower).
/// Needs: nothing has lowered RLIMIT_NOFILE yet.
/// Leaves behind: fd 16383, close-on-exec, and the inherited RLIMIT_NOFILE in the plan. A script ("#!") cannot be executed
/// this way: its interpreter could not open a close-on-exec fd, and the exec fails with ENOENT.
/// The kernel's table of our fds has grown to 16384 entries (128 KiB) and keeps that size over exec.
void hold_program(Plan& plan);

/// Step `rlimit`.
/// Should: set each --rlimit, and RLIMIT_NOFILE always: as given, or else as inherited, but at most 16383, soft and hard.
/// Mustn't: leave a limit under which number 16383 can be had again. With --ruleset it is 16383 for now: make_rulesets() needs numbers below.
/// Needs: hold_program, which must have its number by then.
/// Leaves behind: limits that the VMM cannot raise once it has no CAP_SYS_RESOURCE and the filter refuses to set them.
void set_limits(Plan& plan);

/// Step `fds`.
/// Should: close every fd but the kept ones, the status fd and the program's; make the kept ones survive exec, and those two not.
/// Mustn't: go through /proc, which may not be there.
/// Needs: close_range(2), Linux 5.9.
/// Leaves behind: exactly these fds.
void close_other_fds(const Plan& plan);

/// Step `namespaces`.
/// Should: with --namespaces, put the program into new namespaces of these kinds; as another user than root into a user namespace first, which gives the right
/// to the others.
/// Mustn't: think that it is in the pid namespace: only children will be.
/// Needs: CAP_SYS_ADMIN, or CLONE_NEWUSER among the bits. hold_program and the kept fds, which were opened outside.
/// Leaves behind: an empty network (loopback, down), no System V objects, and in a user namespace our user alone, with all capabilities until exec.
void enter_namespaces(const Plan& plan);

/// Step `pid-namespace`.
/// Should: with CLONE_NEWPID among --namespaces, become the first process of the new namespace: a sibling of ours (CLONE_PARENT) goes on in our place, of
/// which the launcher is told by number and pidfd, and we end.
/// Mustn't: let it go on when the launcher could not be told.
/// Needs: enter_namespaces. Linux 5.3 (clone3). Only one thread.
/// Leaves behind: a child of the launcher, for which only signals that it handles count, SIGKILL and SIGSTOP of the outside excepted (pid_namespaces(7)).
/// Its parent-death signal is gone, and tie_to_parent comes again.
void enter_pid_namespace(Plan& plan);

/// Whether the launcher has ended, as seen from inside a pid namespace.
bool parent_ended(const Plan& plan);

/// Step `mac`, its beginning.
/// Should: with --mac, open where a process sets the label of its own next exec.
/// Mustn't: be done by another process than label_exec: the kernel lets each write its own alone.
/// Needs: enter_pid_namespace, after which we are who we stay. The launcher's /proc, which make_root takes away.
/// Leaves behind: the descriptor in the plan.
void open_label(Plan& plan);

/// Step `root`.
/// Should: with --new-root, have a root in which there is what --root-bind and --root-link name, at the same place, and with --root-proc a /proc of our own.
/// Mustn't: follow a link: what is granted was looked up by the launcher.
/// Needs: a mount namespace of our own. hold_program: the program may not be in it. Linux 5.12 (mount_setattr).
/// Leaves behind: mounts that are as narrow as was asked for, without set-user-ID; the root itself is read-only.
void make_root(const Plan& plan);

/// Step `securebits`.
/// Should: with --lock-securebits, lock "uid 0 gets nothing by being 0", "no ambient capabilities" and "no capabilities are kept when the user changes".
/// Mustn't: come after the capabilities are gone.
/// Needs: CAP_SETPCAP.
/// Leaves behind: bits that nothing can clear.
void lock_securebits(const Plan& plan);

/// Step `capabilities`.
/// Should: with --drop-capabilities, see to it that the program starts with no capability, also as uid 0: there exec would give it
/// the whole bounding set and the inheritable one (capabilities(7)), so both are emptied, and the ambient set with them.
/// Mustn't: drop our own effective ones, which later steps use; exec does that.
/// Needs: CAP_SETPCAP, unless our permitted set is empty: with no_new_privs exec gains nothing then.
/// Leaves behind: empty bounding, inheritable and ambient sets.
void drop_capabilities(const Plan& plan);

/// Step `user`.
/// Should: with --user, become this user and group for good, with no further groups.
/// Mustn't: come before what needs root.
/// Needs: CAP_SETUID and CAP_SETGID; or to be that user already.
/// Leaves behind: no capabilities, and no parent-death signal (credentials(7)): tie_to_parent comes again.
void become_user(const Plan& plan);

/// Step `no-new-privs`.
/// Should: set no_new_privs, so that no exec ever gives privileges, and a filter may be installed without CAP_SYS_ADMIN.
/// Mustn't: be optional.
/// Needs: nothing.
/// Leaves behind: a bit that nothing can clear.
void forbid_new_privileges();

/// Step `rulesets`.
/// Should: make each --ruleset, which the program is made to enter when it comes to a later stage, and leave it under its number; then lower RLIMIT_NOFILE to
/// the lowest of these numbers, if it is not lower already.
/// Mustn't: leave a limit under which one of the numbers can be had: the program may close a ruleset, and then no other file can take its place, neither
/// another ruleset of its own nor one that somebody sends it.
/// Needs: set_limits. The paths as the program sees them. Kernel support, as below.
/// Leaves behind: fds that survive exec. Rules could be added to them: the filter must refuse landlock_add_rule.
void make_rulesets(const Plan& plan);

/// Step `landlock`.
/// Should: with --landlock, enter a domain in which nothing of what is handled may be done but what --landlock-path permits.
/// Mustn't: go on without a path that is missing: the launcher says what is there.
/// Needs: forbid_new_privileges. Kernel support: the launcher asked for it.
/// Leaves behind: a domain that children inherit and nothing leaves; it cannot be mounted in, and nothing outside can be traced.
void confine_by_landlock(const Plan& plan);

/// Step `scope`.
/// Should: with --scope-signals, enter a Landlock domain from which signals reach only processes inside: a filter sees a process id
/// but cannot know whose it is, so the VMM's tgkill would reach the launcher and the broker.
/// Mustn't: fail where the kernel has no such scope (before 6.12, or Landlock is off): the message to the launcher says so.
/// Needs: forbid_new_privileges or CAP_SYS_ADMIN.
/// Leaves behind: a domain that children inherit and nothing leaves. True when it is on.
bool scope_signals(const Plan& plan);

/// Step `mac`.
/// Should: with --mac, have the kernel give the program this label at its exec: an AppArmor profile, which must be loaded (ENOENT), or an SELinux context, which must be
/// known (EINVAL), and into which we may change (EACCES).
/// Mustn't: come earlier than it has to: the label is the program's, not ours.
/// Needs: open_label. Under no_new_privs AppArmor lets only the unconfined, or a profile that permits no less, change; SELinux asks for nnp_transition.
/// Leaves behind: what the exec of become_program uses up.
void label_exec(const Plan& plan);

struct Installed {
  /// The notification listener, or -1 with --no-listener.
  int listener_fd;
  /// A caller whose call was received waits unkillably by anything but SIGKILL: signals do not make it call twice.
  bool wait_killable;
};

/// Step `filter`.
/// Should: unless --no-filter was given (for who filters itself), install the start filter, with a listener unless --no-listener, and WAIT_KILLABLE_RECV where the kernel has it (5.19).
/// Mustn't: hide that it has not: the message to the launcher says so.
/// Needs: forbid_new_privileges or CAP_SYS_ADMIN; no listener from an outer supervisor (EBUSY).
/// Leaves behind: the filter. From here on only sendmsg, close, execveat, exit_group and write are called.
Installed install_filter(const Plan& plan);

/// Step `listener`.
/// Should: give the listener to the launcher and close our copy: the VMM must not be able to answer itself.
/// Mustn't: wait for anything else.
/// Needs: the status fd.
/// Leaves behind: the only listener with the launcher.
void hand_over_listener(const Installed& installed, bool signals_scoped);

/// Step `exec`.
/// Should: become the program.
/// Mustn't: return.
/// Needs: fd 16383.
/// Leaves behind: the VMM. The status fd and fd 16383 are closed by the exec itself.
[[noreturn]] void become_program(const Plan& plan);
