// SPDX-License-Identifier: Apache-2.0
#include "empty_root.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/mount.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

// As in new_root.cc.
extern "C" int umount2(const char*, int) noexcept;

namespace {

constexpr int detach = 2;     // MNT_DETACH
constexpr int no_follow = 8;  // UMOUNT_NOFOLLOW

[[noreturn]] void fail(const char* what, const char* path) {
  fprintf(stderr, "{\"what\":\"%s\",\"path\":\"%s\",\"errno\":%d}\n", what, path, errno);
  _exit(1);
}

/// Whatever goes wrong with namespaces, nobody's files are removed: the root is a file system in memory, and another one than ours.
void assert_made_by_us(const struct stat& ours) {
  struct stat root;
  struct statfs kind;
  if (stat("/", &root) < 0 || statfs("/", &kind) < 0) fail("look at", "/");
  const bool same = root.st_dev == ours.st_dev && root.st_ino == ours.st_ino;
  errno = EXDEV;
  if (same || kind.f_type != TMPFS_MAGIC) fail("recognise", "/");
}

/// Where the list of mounts on standard input ends; null when it ended too early.
const char* read_mounts(char* buffer, size_t size) {
  size_t length = 0;
  for (;;) {
    const bool complete = length > 0 && buffer[length - 1] == '\0' && (length == 1 || buffer[length - 2] == '\0');
    if (complete) return buffer + length - 1;
    errno = E2BIG;
    if (length == size) fail("read", "the mounts");
    const ssize_t count = read(0, buffer + length, size - length);
    if (count < 0) fail("read", "the mounts");
    if (count == 0) return nullptr;
    length += static_cast<size_t>(count);
  }
}

/// The mounts as they stand one after the other, from the last to the first.
void unmount_all(const char* mounts, const char* end) {
  for (const char* next = end; next > mounts;) {
    const char* point = next - 1;
    while (point > mounts && point[-1] != '\0') --point;
    // Gone with one that it lay in.
    if (umount2(point, detach | no_follow) < 0 && errno != EINVAL && errno != ENOENT) fail("unmount", point);
    next = point;
  }
}

/// Empty directories, places of mounts and links: what new_root.cc made. What is still mounted stays, and the directories above it: true then.
bool remove_all(int directory, dev_t device) {
  DIR* const listing = fdopendir(directory);
  if (listing == nullptr) fail("list", ".");
  bool stays = false;
  for (const dirent* entry = readdir(listing); entry != nullptr; entry = readdir(listing)) {
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    struct stat status;
    if (fstatat(directory, entry->d_name, &status, AT_SYMLINK_NOFOLLOW) < 0) fail("look at", entry->d_name);
    if (status.st_dev != device) {
      stays = true;
      continue;
    }
    if (entry->d_type == DT_DIR) {
      const int inside = openat(directory, entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
      if (inside < 0) fail("open", entry->d_name);
      if (remove_all(inside, device)) {
        stays = true;
        continue;
      }
    }
    errno = ENOTEMPTY;
    if (S_ISREG(status.st_mode) && status.st_size != 0) fail("remove", entry->d_name);
    if (unlinkat(directory, entry->d_name, entry->d_type == DT_DIR ? AT_REMOVEDIR : 0) < 0) fail("remove", entry->d_name);
  }
  closedir(listing);
  return stays;
}

void set_read_only(bool read_only) {
  mount_attr attributes{};
  (read_only ? attributes.attr_set : attributes.attr_clr) = MOUNT_ATTR_RDONLY;
  if (syscall(SYS_mount_setattr, AT_FDCWD, "/", 0, &attributes, sizeof attributes) < 0) fail("mount", "/");
}

}  // namespace

int empty_root(int argc, char** argv) {
  if (argc != 2) return 2;
  const int pidfd = atoi(argv[0]);
  static char mounts[1 << 16];
  const char* const end = read_mounts(mounts, sizeof mounts);
  if (end == nullptr) return 2;
  struct stat ours;
  if (stat("/", &ours) < 0) fail("look at", "/");
  if (setns(pidfd, atoi(argv[1])) < 0) fail("enter", "the namespaces");
  assert_made_by_us(ours);
  unmount_all(mounts, end);
  set_read_only(false);
  struct stat root;
  if (stat("/", &root) < 0) fail("look at", "/");
  remove_all(open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC), root.st_dev);
  set_read_only(true);
  return 0;
}
