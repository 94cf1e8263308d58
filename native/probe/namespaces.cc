// SPDX-License-Identifier: Apache-2.0
// What a program can be put into: namespaces, a root of its own, a control group.
#include <fcntl.h>
#include <linux/mount.h>
#include <linux/sched.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "probe.h"

namespace {

/// As root by itself, otherwise through a user namespace, as the stager does it.
int unshare_also(int kind) { return unshare(geteuid() == 0 ? kind : kind | CLONE_NEWUSER); }

}  // namespace

Finding probe_user_namespaces() { return unshare(CLONE_NEWUSER) < 0 ? failed("unshare") : works(); }

Finding probe_pid_namespaces() {
  if (unshare_also(CLONE_NEWPID) < 0) return failed("unshare");
  clone_args arguments{};
  arguments.exit_signal = SIGCHLD;
  const long child = syscall(SYS_clone3, &arguments, sizeof arguments);
  if (child < 0) return failed("clone3");
  if (child == 0) _exit(getpid() == 1 ? 0 : 1);
  int status;
  if (waitpid(static_cast<pid_t>(child), &status, 0) < 0) return failed("waitpid");
  return status == 0 ? works() : failed_with(EPROTO, "the child is not the first");
}

Finding probe_own_root() {
  if (unshare_also(CLONE_NEWNS | CLONE_NEWPID) < 0) return failed("unshare");
  constexpr unsigned long recursive = 0x8000;  // AT_RECURSIVE
  const long tree = syscall(SYS_open_tree, AT_FDCWD, "/", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | recursive);
  if (tree < 0) return failed("open_tree");
  mount_attr attributes{};
  attributes.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID;
  if (syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH | recursive, &attributes, sizeof attributes) < 0) return failed("mount_setattr");
  const long context = syscall(SYS_fsopen, "tmpfs", FSOPEN_CLOEXEC);
  if (context < 0) return failed("fsopen");
  if (syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) < 0) return failed("fsconfig");
  if (syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC, 0U) < 0) return failed("fsmount");
  // A /proc of a pid namespace is mounted by a process in it.
  const pid_t child = fork();
  if (child < 0) return failed("fork");
  if (child == 0) {
    const long proc = syscall(SYS_fsopen, "proc", FSOPEN_CLOEXEC);
    const bool mounted = proc >= 0 && syscall(SYS_fsconfig, proc, FSCONFIG_SET_STRING, "subset", "pid", 0) == 0 &&
                         syscall(SYS_fsconfig, proc, FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) == 0 &&
                         syscall(SYS_fsmount, proc, FSMOUNT_CLOEXEC, 0U) >= 0;
    _exit(mounted ? 0 : errno);
  }
  int status;
  if (waitpid(child, &status, 0) < 0) return failed("waitpid");
  return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? works() : failed_with(WEXITSTATUS(status), "a proc of its own");
}

Finding probe_cgroup() {
  FILE* const mounts = fopen("/proc/self/mounts", "re");
  if (mounts == nullptr) return failed("/proc/self/mounts");
  char line[512];
  char point[256] = "";
  while (fgets(line, sizeof line, mounts) != nullptr) {
    if (sscanf(line, "%*s %255s cgroup2 ", point) == 1 && strstr(line, " cgroup2 ") != nullptr) break;
    point[0] = '\0';
  }
  fclose(mounts);
  if (point[0] == '\0') return failed_with(ENOENT, "cgroup2 is not mounted");
  char path[300];
  snprintf(path, sizeof path, "%s/cgroup.controllers", point);
  FILE* const file = fopen(path, "re");
  if (file == nullptr) return failed("cgroup.controllers");
  char controllers[120] = "";
  const bool some = fgets(controllers, sizeof controllers, file) != nullptr;
  fclose(file);
  controllers[strcspn(controllers, "\n")] = '\0';
  return works_with("%s", some ? controllers : "without controllers");
}
