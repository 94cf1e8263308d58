// SPDX-License-Identifier: Apache-2.0
// The step `root`: a file system that holds what was granted and nothing else.
//
// Theory of operation
//
// A tmpfs is mounted over the root of our own mount namespace. Our root directory is still the old one beneath it, so absolute names find what they
// always did, while names relative to the tmpfs find what is being made. Each thing that is granted is cloned where it is (open_tree), made as narrow as it may be
// while nobody can reach it, and put into its place. At the end the tmpfs becomes the root, and the old one goes, with all that is mounted in it.
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "report.h"
#include "steps.h"

// sys/mount.h and linux/mount.h define the same things; what we take from the former:
extern "C" int mount(const char*, const char*, const char*, unsigned long, const void*) noexcept;
extern "C" int umount2(const char*, int) noexcept;

namespace {

constexpr const char* step = "root";
constexpr unsigned long recursive = 0x8000;  // AT_RECURSIVE
constexpr int detach = 2;                    // MNT_DETACH

long or_fail(long result) {
  if (result < 0) fail(step, errno);
  return result;
}

/// fsopen(2) and what follows, to a mount that is nowhere yet. `options`: pairs, ended by a null.
int new_mount(const char* kind, const char* const* options, unsigned int attributes) {
  const auto context = static_cast<int>(or_fail(syscall(SYS_fsopen, kind, FSOPEN_CLOEXEC)));
  for (; *options != nullptr; options += 2) or_fail(syscall(SYS_fsconfig, context, FSCONFIG_SET_STRING, options[0], options[1], 0));
  or_fail(syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, nullptr, nullptr, 0));
  const auto mounted = static_cast<int>(or_fail(syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC, attributes)));
  close(context);
  return mounted;
}

/// Beneath `root`, and through no link: what is there was made by us, or cloned from where the launcher found no link either.
int open_beneath(int root, const char* path) {
  open_how how{};
  how.flags = O_PATH | O_CLOEXEC;
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS;
  return static_cast<int>(syscall(SYS_openat2, root, path, &how, sizeof how));
}

/// The directories above `path`. Those that a mount has brought are there already.
void make_parents(int root, const char* path) {
  char part[PATH_MAX];
  if (strlen(path) >= sizeof part) fail(step, ENAMETOOLONG);
  for (const char* slash = strchr(path + 1, '/'); slash != nullptr; slash = strchr(slash + 1, '/')) {
    const auto length = static_cast<size_t>(slash - path);
    memcpy(part, path, length);
    part[length] = '\0';
    if (mkdirat(root, part + 1, 0755) < 0 && errno != EEXIST && errno != EROFS) fail(step, errno);
  }
}

/// Where something can be mounted: an empty directory, or an empty file.
int make_place(int root, const char* path, bool directory) {
  make_parents(root, path);
  int place = open_beneath(root, path);
  if (place >= 0) return place;
  if (errno != ENOENT) fail(step, errno);
  or_fail(directory ? mkdirat(root, path + 1, 0755) : mknodat(root, path + 1, S_IFREG | 0644, 0));
  place = open_beneath(root, path);
  or_fail(place);
  return place;
}

void put(int mounted, int place) {
  or_fail(syscall(SYS_move_mount, mounted, "", place, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH));
  close(mounted);
  close(place);
}

void bind(int root, const RootBind& wanted) {
  // With all that is mounted in it: of a tree that somebody else mounted a user namespace may only clone the whole.
  const auto clone = static_cast<int>(or_fail(syscall(SYS_open_tree, AT_FDCWD, wanted.path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | recursive)));
  struct stat status;
  or_fail(fstat(clone, &status));
  mount_attr attributes{};
  attributes.attr_set = MOUNT_ATTR_NOSUID;
  if ((wanted.uses & root_bind_write) == 0) attributes.attr_set |= MOUNT_ATTR_RDONLY;
  if ((wanted.uses & root_bind_devices) == 0) attributes.attr_set |= MOUNT_ATTR_NODEV;
  if ((wanted.uses & root_bind_execute) == 0) attributes.attr_set |= MOUNT_ATTR_NOEXEC;
  or_fail(syscall(SYS_mount_setattr, clone, "", AT_EMPTY_PATH | recursive, &attributes, sizeof attributes));
  put(clone, make_place(root, wanted.path, S_ISDIR(status.st_mode)));
}

void link_to(int root, const RootLink& wanted) {
  make_parents(root, wanted.path);
  or_fail(symlinkat(wanted.target, root, wanted.path + 1));
}

/// Shows the processes of our pid namespace that we could trace, and of the kernel nothing but what belongs to processes.
void show_processes(int root) {
  const char* const options[] = {"hidepid", "ptraceable", "subset", "pid", nullptr};
  const int mounted = new_mount("proc", options, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
  put(mounted, make_place(root, "/proc", true));
}

}  // namespace

void make_root(const Plan& plan) {
  if (!plan.new_root) return;
  char directory[PATH_MAX];
  const bool somewhere = getcwd(directory, sizeof directory) != nullptr && directory[0] == '/';
  umask(0022);
  constexpr unsigned long private_tree = (1UL << 18) | (1UL << 14);  // MS_PRIVATE | MS_REC
  or_fail(mount(nullptr, "/", nullptr, private_tree, nullptr));
  const char* const options[] = {"size", "1M", "nr_inodes", "1k", "mode", "0755", nullptr};
  const int root = new_mount("tmpfs", options, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
  or_fail(syscall(SYS_move_mount, root, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH));

  for (int index = 0; index < plan.root_link_count; ++index) link_to(root, plan.root_links[index]);
  for (int index = 0; index < plan.root_bind_count; ++index) bind(root, plan.root_binds[index]);
  if (plan.root_proc) show_processes(root);

  or_fail(fchdir(root));
  // The old root lies on the new one then, and "." is the old one (pivot_root(2)).
  or_fail(syscall(SYS_pivot_root, ".", "."));
  or_fail(umount2(".", detach));
  mount_attr attributes{};
  attributes.attr_set = MOUNT_ATTR_RDONLY;
  or_fail(syscall(SYS_mount_setattr, root, "", AT_EMPTY_PATH, &attributes, sizeof attributes));
  close(root);
  // Where we were, if that is to be found.
  if (!somewhere || chdir(directory) < 0) or_fail(chdir("/"));
}
