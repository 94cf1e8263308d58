// SPDX-License-Identifier: Apache-2.0
#include "sys/flow.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

namespace ratchet {

namespace {

struct Inode {
  std::uint64_t device;
  std::uint64_t number;
};

Result<Inode> inode_at(int directory_fd, const char* path, int flags) {
  struct statx found{};
  if (::statx(directory_fd, path, flags | AT_STATX_DONT_SYNC, STATX_INO, &found) < 0) return last_failure("statx");
  return Inode{makedev(found.stx_dev_major, found.stx_dev_minor), found.stx_ino};
}

}  // namespace

Result<FlowTarget> FlowTarget::pinned(AddressBytes address, UniqueFd pin, std::string path) {
  auto inode = inode_at(pin.get(), "", AT_EMPTY_PATH);
  if (!inode.ok()) return inode.failure();
  FlowTarget target(address);
  target.pin_ = std::move(pin);
  target.path_ = std::move(path);
  target.device_ = inode.value().device;
  target.inode_ = inode.value().number;
  return target;
}

bool FlowTarget::holds() const {
  if (!pin_) return true;
  // The name that the kernel has for the pinned one today: of real directories only, and marked when it was removed. Equal to the path, there is no link on the way.
  char name[PATH_MAX];
  const std::string link = "/proc/self/fd/" + std::to_string(pin_.get());
  const ssize_t length = ::readlink(link.c_str(), name, sizeof name);
  if (length < 0 || std::string_view(name, static_cast<std::size_t>(length)) != path_) return false;
  // And nothing is mounted over it.
  auto inode = inode_at(AT_FDCWD, path_.c_str(), AT_SYMLINK_NOFOLLOW);
  return inode.ok() && inode.value().device == device_ && inode.value().number == inode_;
}

}  // namespace ratchet
