// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <linux/filter.h>
#include <sys/resource.h>
#include <sys/types.h>

/// The number that the program's fd has until exec, and no fd ever has again: RLIMIT_NOFILE ends at most here. The start
/// filters know it (RATCHET_EXEC_FD in core/tables/constants.ts). Low enough for a hard limit that some containers set, and
/// that only CAP_SYS_RESOURCE can raise; high enough to leave the VMM all the fds it may want.
inline constexpr int exec_fd = 16383;

/// BPF_MAXINSNS: the kernel takes no longer program.
inline constexpr int max_instructions = 4096;
inline constexpr int max_kept_fds = 256;
inline constexpr int max_limits = 16;
inline constexpr int max_landlock_paths = 256;
inline constexpr int max_root_entries = 256;
/// Bytes. The kernel takes less than a page.
inline constexpr int max_label = 1024;
/// Later stages that have a Landlock ruleset: more domains the kernel stacks for nobody.
inline constexpr int max_rulesets = 16;

/// What may be done beneath a path: LANDLOCK_ACCESS_FS_ bits.
struct LandlockPath {
  unsigned long access;
  const char* path;
};

/// Landlock rules; LANDLOCK_ACCESS_FS_, LANDLOCK_ACCESS_NET_ and LANDLOCK_SCOPE_ bits. Nothing that is handled is permitted but by the paths.
struct LandlockRules {
  unsigned long fs;
  unsigned long net;
  unsigned long scoped;
  LandlockPath paths[max_landlock_paths];
  int path_count;
};

/// What the program enters by itself later, and the number under which it finds it.
struct LaterRuleset {
  int fd;
  LandlockRules rules;
};

/// What may be done with what a new root has of the old one; reading always.
enum RootBindUses : unsigned long { root_bind_write = 1, root_bind_devices = 2, root_bind_execute = 4 };

/// A file or directory that is in the new root where it is in the old one. Absolute, and no link on the way.
struct RootBind {
  unsigned long uses;
  const char* path;
};

/// A symbolic link of the new root.
struct RootLink {
  const char* path;
  const char* target;
};

enum class MacKind { none, apparmor, selinux };

/// Under which label of mandatory access control the program is executed: an AppArmor profile's name, or an SELinux context.
struct Mac {
  MacKind kind;
  const char* label;
  /// Where our own next exec's is set.
  int exec_fd;
};

struct Limit {
  int resource;
  rlimit value;
};

/// The command line, and what the first steps learn.
struct Plan {
  int status_fd;
  /// -1 with --no-filter.
  int filter_fd;
  /// cgroup.procs of the group to enter; -1: stay where we are.
  int cgroup_fd;
  /// Ascending, each once.
  int kept_fds[max_kept_fds];
  int kept_count;
  Limit limits[max_limits];
  int limit_count;
  bool drop_capabilities;
  bool scope_signals;
  /// CLONE_NEW* bits.
  unsigned long namespaces;
  /// -1: stay who we are.
  long user;
  long group;
  bool lock_securebits;
  bool landlock_wanted;
  LandlockRules landlock;
  /// By number, the lowest last.
  LaterRuleset rulesets[max_rulesets];
  int ruleset_count;
  bool new_root;
  /// Those within another come after it.
  RootBind root_binds[max_root_entries];
  int root_bind_count;
  RootLink root_links[max_root_entries];
  int root_link_count;
  bool root_proc;
  Mac mac;
  /// 0 when we are not tied to a parent.
  pid_t parent_pid;
  /// The parent, from inside a pid namespace where it has no number; 0 outside of one.
  int parent_pidfd;
  bool listener;
  const char* program;
  char** argv;

  sock_filter instructions[max_instructions];
  unsigned short instruction_count;
  /// RLIMIT_NOFILE as we found it.
  rlimit inherited_fd_limit;
  /// The same as the program will have it.
  rlimit fd_limit;
};

/// From this number on fds are ours, or the rulesets of later stages, and no call of the program can make one.
inline int lowest_own_fd(const Plan& plan) { return plan.ruleset_count == 0 ? exec_fd : plan.rulesets[plan.ruleset_count - 1].fd; }

/// Step `arguments`. Should understand the command line completely; mustn't guess: an option that is unknown, double,
/// missing or not understood fails with EINVAL, and a line on stderr names it.
///
///     ratchet-stager --status-fd N [--filter-fd N] --keep N,N,... [--rlimit NAME=SOFT:HARD]... [--drop-capabilities] [--scope-signals]
///                    [--namespaces BITS] [--user UID:GID] [--lock-securebits] [--landlock FS:NET:SCOPED] [--landlock-path ACCESS:PATH]...
///                    [--ruleset N:FS [--ruleset-path ACCESS:PATH]...]...
///                    [--new-root] [--root-bind USES:PATH]... [--root-link LENGTH:PATHTARGET]... [--root-proc] [--cgroup-fd N]
///                    [--mac apparmor:NAME | --mac selinux:CONTEXT] [--parent-pid PID] [--no-listener | --no-filter] --exec PATH -- ARGV0 [ARGUMENT...]
///
/// NAME is that of an RLIMIT_ constant without the prefix, SOFT and HARD are numbers or `unlimited`. `--keep ''` keeps none. LENGTH is that of PATH. The N of
/// `--ruleset` lie below 16383, each below the one before and above every other fd; a `--ruleset-path` belongs to the ruleset before it.
void parse_arguments(int argc, char** argv, Plan& plan);
