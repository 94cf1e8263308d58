// SPDX-License-Identifier: Apache-2.0
#include "sys/files.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/openat2.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#include <cstring>

#include "sys/file_thread.h"

namespace ratchet {

Result<UniqueFd> open_file(int directory_fd, const std::string& path, std::uint64_t flags, std::uint64_t mode,
                           std::uint64_t resolve) {
  open_how how{};
  how.flags = flags | O_CLOEXEC;
  how.mode = mode;
  how.resolve = resolve;
  long fd = -1;
  int error = 0;
  by_file_thread([&] {
    do {
      fd = ::syscall(SYS_openat2, directory_fd, path.c_str(), &how, sizeof how);
    } while (fd < 0 && errno == EINTR);
    error = errno;
  });
  if (fd < 0) return Failure{error, "openat2"};
  return UniqueFd(static_cast<int>(fd));
}

Outcome unlink_file(const std::string& path) {
  int error = 0;
  by_file_thread([&] { error = ::unlinkat(AT_FDCWD, path.c_str(), 0) < 0 ? errno : 0; });
  if (error != 0) return Failure{error, "unlinkat"};
  return {};
}

Result<UniqueFd> create_memfd(const std::string& name, std::span<const std::uint8_t> data, bool seal) {
  UniqueFd fd(::memfd_create(name.c_str(), MFD_CLOEXEC | (seal ? MFD_ALLOW_SEALING : 0U)));
  if (!fd) return last_failure("memfd_create");
  while (!data.empty()) {
    const ssize_t written = ::write(fd.get(), data.data(), data.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return last_failure("write");
    data = data.subspan(static_cast<std::size_t>(written));
  }
  if (::lseek(fd.get(), 0, SEEK_SET) < 0) return last_failure("lseek");
  if (seal && ::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) < 0) {
    return last_failure("fcntl");
  }
  return fd;
}

Result<UniqueFd> create_sized_memfd(const std::string& name, std::uint64_t bytes, int seals) {
  UniqueFd fd(::memfd_create(name.c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd) return last_failure("memfd_create");
  if (::ftruncate(fd.get(), static_cast<off_t>(bytes)) < 0) return last_failure("ftruncate");
  if (seals != 0 && ::fcntl(fd.get(), F_ADD_SEALS, seals) < 0) return last_failure("fcntl");
  return fd;
}

Result<std::span<std::uint8_t>> map_shared(int fd, std::size_t bytes) {
  struct stat found;
  if (::fstat(fd, &found) < 0) return last_failure("fstat");
  if (static_cast<std::size_t>(found.st_size) < bytes) return Failure{EINVAL, "mmap"};  // Else SIGBUS, later.
  void* const memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (memory == MAP_FAILED) return last_failure("mmap");
  return std::span(static_cast<std::uint8_t*>(memory), bytes);
}

namespace {

/// False when the name does not fit with its final zero: the kernel would cut it, and act on another interface.
bool set_name(ifreq& request, const std::string& name) {
  if (name.size() >= sizeof request.ifr_name) return false;
  std::memcpy(request.ifr_name, name.c_str(), name.size() + 1);
  return true;
}

}  // namespace

Result<Tap> create_tap(const std::string& name, short flags) {
  ifreq request{};
  if (!set_name(request, name)) return Failure{ENAMETOOLONG, "ioctl"};
  request.ifr_flags = flags;
  auto device = open_file(AT_FDCWD, "/dev/net/tun", O_RDWR | O_NONBLOCK, 0, 0);
  if (!device.ok()) return device.failure();
  UniqueFd fd = std::move(device.value());
  if (::ioctl(fd.get(), TUNSETIFF, &request) < 0) return last_failure("ioctl");
  request.ifr_name[sizeof request.ifr_name - 1] = '\0';
  return Tap{std::move(fd), request.ifr_name};
}

namespace {

/// Any socket serves; netdevice(7).
UniqueFd interface_socket() { return UniqueFd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)); }

}  // namespace

Outcome set_interface_mtu(const std::string& name, int mtu) {
  ifreq request{};
  if (!set_name(request, name)) return Failure{ENAMETOOLONG, "ioctl"};
  const UniqueFd socket = interface_socket();
  if (!socket) return last_failure("socket");
  request.ifr_mtu = mtu;
  if (::ioctl(socket.get(), SIOCSIFMTU, &request) < 0) return last_failure("ioctl");
  return {};
}

Outcome add_to_bridge(const std::string& name, const std::string& bridge) {
  ifreq port{};
  ifreq request{};
  if (!set_name(port, name) || !set_name(request, bridge)) return Failure{ENAMETOOLONG, "ioctl"};
  const UniqueFd socket = interface_socket();
  if (!socket) return last_failure("socket");
  if (::ioctl(socket.get(), SIOCGIFINDEX, &port) < 0) return last_failure("ioctl");
  request.ifr_ifindex = port.ifr_ifindex;
  if (::ioctl(socket.get(), SIOCBRADDIF, &request) < 0) return last_failure("ioctl");
  return {};
}

Outcome set_tap_owner(int fd, std::uint32_t uid) {
  if (::ioctl(fd, TUNSETOWNER, static_cast<unsigned long>(uid)) < 0) return last_failure("ioctl");
  return {};
}

Outcome set_interface_up(const std::string& name, bool up) {
  ifreq request{};
  if (!set_name(request, name)) return Failure{ENAMETOOLONG, "ioctl"};
  const UniqueFd socket = interface_socket();
  if (!socket) return last_failure("socket");
  if (::ioctl(socket.get(), SIOCGIFFLAGS, &request) < 0) return last_failure("ioctl");
  const int flags = up ? request.ifr_flags | IFF_UP : request.ifr_flags & ~IFF_UP;
  request.ifr_flags = static_cast<short>(flags);
  if (::ioctl(socket.get(), SIOCSIFFLAGS, &request) < 0) return last_failure("ioctl");
  return {};
}

Result<Terminal> open_terminal_peer(int fd) {
  int unlocked = 0;
  unsigned number = 0;
  if (::ioctl(fd, TIOCSPTLCK, &unlocked) < 0 || ::ioctl(fd, TIOCGPTN, &number) < 0) return last_failure("ioctl");
  UniqueFd peer(::ioctl(fd, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (!peer) return last_failure("ioctl");
  return Terminal{std::move(peer), static_cast<int>(number)};
}

Result<FileKind> file_kind(int fd) {
  struct stat found;
  if (::fstat(fd, &found) < 0) return last_failure("fstat");
  return FileKind{found.st_mode, major(found.st_rdev), minor(found.st_rdev)};
}

}  // namespace ratchet
