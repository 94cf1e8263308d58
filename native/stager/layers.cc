// SPDX-License-Identifier: Apache-2.0
// The steps that confine by other means than the filter: namespaces, user, securebits, Landlock. steps.h says what each should do.
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/securebits.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "report.h"
#include "steps.h"

namespace {

void write_file(const char* step, const char* path, const char* text) {
  const int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) fail(step, errno);
  const auto length = static_cast<ssize_t>(strlen(text));
  if (write(fd, text, static_cast<size_t>(length)) != length) fail(step, errno);
  close(fd);
}

/// In the new namespace we are who we were, and nobody else is there.
void enter_user_namespace(const char* step) {
  const unsigned int user = geteuid();
  const unsigned int group = getegid();
  if (unshare(CLONE_NEWUSER) < 0) fail(step, errno);
  char map[64];
  snprintf(map, sizeof map, "%u %u 1\n", user, user);
  write_file(step, "/proc/self/uid_map", map);
  write_file(step, "/proc/self/setgroups", "deny");
  snprintf(map, sizeof map, "%u %u 1\n", group, group);
  write_file(step, "/proc/self/gid_map", map);
}

int make_ruleset(const char* step, const LandlockRules& wanted) {
  // From include/uapi/linux/landlock.h; the headers that we build with may be older.
  struct {
    uint64_t handled_access_fs;
    uint64_t handled_access_net;
    uint64_t scoped;
  } const rules{wanted.fs, wanted.net, wanted.scoped};
  // A kernel that does not know the later members takes the shorter form.
  const size_t size = wanted.scoped != 0 ? 24 : wanted.net != 0 ? 16 : 8;
  const long ruleset = syscall(SYS_landlock_create_ruleset, &rules, size, 0U);
  if (ruleset < 0) fail(step, errno);
  for (int index = 0; index < wanted.path_count; ++index) {
    const LandlockPath& path = wanted.paths[index];
    const int fd = open(path.path, O_PATH | O_CLOEXEC);
    if (fd < 0) fail(step, errno);
    struct __attribute__((packed)) {
      uint64_t allowed_access;
      int32_t parent_fd;
    } const rule{path.access, fd};
    constexpr int path_beneath = 1;  // LANDLOCK_RULE_PATH_BENEATH
    if (syscall(SYS_landlock_add_rule, ruleset, path_beneath, &rule, 0U) < 0) fail(step, errno);
    close(fd);
  }
  return static_cast<int>(ruleset);
}

}  // namespace

void enter_cgroup(const Plan& plan) {
  if (plan.cgroup_fd < 0) return;
  // 0 is whoever writes (cgroups(7)).
  if (write(plan.cgroup_fd, "0", 1) != 1) fail("cgroup", errno);
}

void enter_namespaces(const Plan& plan) {
  constexpr const char* step = "namespaces";
  if (plan.namespaces == 0) return;
  const auto bits = static_cast<int>(plan.namespaces);
  // A pid namespace among them is for the child that enter_pid_namespace makes.
  if ((bits & CLONE_NEWUSER) != 0) enter_user_namespace(step);
  const int others = bits & ~CLONE_NEWUSER;
  if (others != 0 && unshare(others) < 0) fail(step, errno);
}

void become_user(const Plan& plan) {
  constexpr const char* step = "user";
  if (plan.user < 0) return;
  const auto user = static_cast<uid_t>(plan.user);
  const auto group = static_cast<gid_t>(plan.group);
  if (geteuid() == user && getegid() == group) return;
  if (setgroups(0, nullptr) < 0) fail(step, errno);
  if (setresgid(group, group, group) < 0) fail(step, errno);
  if (setresuid(user, user, user) < 0) fail(step, errno);
}

void lock_securebits(const Plan& plan) {
  if (!plan.lock_securebits) return;
  constexpr unsigned long bits = SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP_LOCKED | SECBIT_KEEP_CAPS_LOCKED |
                                 SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED;
  if (prctl(PR_SET_SECUREBITS, bits, 0UL, 0UL, 0UL) < 0) fail("securebits", errno);
}

void make_rulesets(const Plan& plan) {
  constexpr const char* step = "rulesets";
  if (plan.ruleset_count == 0) return;
  for (int index = 0; index < plan.ruleset_count; ++index) {
    const int made = make_ruleset(step, plan.rulesets[index].rules);
    if (dup3(made, plan.rulesets[index].fd, 0) < 0) fail(step, errno);
    close(made);
  }
  if (setrlimit(RLIMIT_NOFILE, &plan.fd_limit) < 0) fail(step, errno);
}

void confine_by_landlock(const Plan& plan) {
  constexpr const char* step = "landlock";
  if (!plan.landlock_wanted) return;
  const int ruleset = make_ruleset(step, plan.landlock);
  if (syscall(SYS_landlock_restrict_self, ruleset, 0U) < 0) fail(step, errno);
  close(ruleset);
}
