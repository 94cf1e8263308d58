// SPDX-License-Identifier: Apache-2.0
#include "sys/sockets.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <algorithm>
#include <cstring>

#include "sys/file_thread.h"

namespace ratchet {

Result<UniqueFd> create_socket(int domain, int type, int protocol) {
  UniqueFd fd(::socket(domain, type | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol));
  if (!fd) return last_failure("socket");
  return fd;
}

namespace {

/// The bytes in aligned storage, as the kernel's prototype wants them; too many is EINVAL, as the kernel would say.
struct Address {
  sockaddr_storage storage{};
  socklen_t length = 0;

  bool assign(AddressBytes bytes) {
    if (bytes.size() > sizeof storage) return false;
    std::memcpy(&storage, bytes.data(), bytes.size());
    length = static_cast<socklen_t>(bytes.size());
    return true;
  }
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

/// O_NONBLOCK belongs to the open file description: whoever shares the socket can take it away while we connect, and make us wait for ever. The
/// send timeout bounds connect(2) too (socket(7)): one tick, then EINPROGRESS, or EAGAIN from unix sockets, as if the flag were set.
class NoWaiting {
 public:
  explicit NoWaiting(int fd) : fd_(fd) {
    constexpr timeval tick{0, 1};
    socklen_t length = sizeof before_;
    set_ = ::getsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &before_, &length) == 0 &&
           ::setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tick, sizeof tick) == 0;
  }
  ~NoWaiting() {
    const int error = errno;
    if (set_) (void)::setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &before_, sizeof before_);
    errno = error;
  }
  NoWaiting(const NoWaiting&) = delete;
  NoWaiting& operator=(const NoWaiting&) = delete;

 private:
  int fd_;
  timeval before_{};
  bool set_ = false;
};

}  // namespace

Result<Connecting> connect_socket(int fd, AddressBytes bytes) {
  const NoWaiting no_waiting(fd);
  return connect_own_socket(fd, bytes);
}

Result<Connecting> connect_own_socket(int fd, AddressBytes bytes) {
  Address address;
  if (!address.assign(bytes)) return Failure{EINVAL, "connect"};
  if (::connect(fd, address.get(), address.length) == 0) return Connecting::connected;
  // Interrupted means under way (connect(2)): calling again would say EALREADY.
  if (errno == EINPROGRESS || errno == EINTR) return Connecting::in_progress;
  return last_failure("connect");
}

Result<std::size_t> send_to(int fd, AddressBytes data, AddressBytes bytes, int flags) {
  Address address;
  if (!address.assign(bytes)) return Failure{EINVAL, "sendmsg"};
  iovec part{const_cast<std::uint8_t*>(data.data()), data.size()};  // iovec has no const form; sendmsg only reads.
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_name = address.length == 0 ? nullptr : &address.storage;
  message.msg_namelen = address.length;
  ssize_t sent;
  do {
    sent = ::sendmsg(fd, &message, flags | MSG_DONTWAIT | MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  if (sent < 0) return last_failure("sendmsg");
  return static_cast<std::size_t>(sent);
}

Outcome bind_socket(int fd, AddressBytes bytes) {
  Address address;
  if (!address.assign(bytes)) return Failure{EINVAL, "bind"};
  int error = 0;
  by_file_thread([&] { error = ::bind(fd, address.get(), address.length) < 0 ? errno : 0; });  // A unix path is a file that is made.
  if (error != 0) return Failure{error, "bind"};
  return {};
}

Outcome listen_socket(int fd, int backlog) {
  if (::listen(fd, backlog) < 0) return last_failure("listen");
  return {};
}

Result<int> socket_option(int fd, int level, int name) {
  int value = 0;
  socklen_t length = sizeof value;
  if (::getsockopt(fd, level, name, &value, &length) < 0) return last_failure("getsockopt");
  return value;
}

Outcome set_socket_option(int fd, int level, int name, int value) {
  if (::setsockopt(fd, level, name, &value, sizeof value) < 0) return last_failure("setsockopt");
  return {};
}

Result<std::optional<UniqueFd>> accept_connection(int fd) {
  UniqueFd accepted(::accept4(fd, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (accepted) return std::optional<UniqueFd>(std::move(accepted));
  if (errno == EAGAIN || errno == ECONNABORTED || errno == EINTR) return std::optional<UniqueFd>();
  return last_failure("accept4");
}

namespace {

Result<ucred> peer_credentials(int fd) {
  ucred credentials{};
  socklen_t length = sizeof credentials;
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &length) < 0) return last_failure("getsockopt");
  return credentials;
}

}  // namespace

Result<Peer> socket_peer(int fd) {
  constexpr int so_peerpidfd = 77;  // asm-generic/socket.h since Linux 6.5.
  auto credentials = peer_credentials(fd);
  if (!credentials.ok()) return credentials.failure();
  auto pidfd = socket_option(fd, SOL_SOCKET, so_peerpidfd);
  if (!pidfd.ok()) return pidfd.failure();
  return Peer{credentials.value().pid, credentials.value().uid, UniqueFd(pidfd.value())};
}

Result<std::uint32_t> peer_user(int fd) {
  auto credentials = peer_credentials(fd);
  if (!credentials.ok()) return credentials.failure();
  return credentials.value().uid;
}

Result<std::vector<std::uint8_t>> socket_name(int fd) {
  sockaddr_storage storage{};
  socklen_t length = sizeof storage;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&storage), &length) < 0) return last_failure("getsockname");
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(&storage);
  return std::vector<std::uint8_t>(bytes, bytes + std::min<std::size_t>(length, sizeof storage));
}

Result<int> status_flags(int fd) {
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0) return last_failure("fcntl");
  return flags;
}

Outcome set_status_flags(int fd, int flags) {
  if (::fcntl(fd, F_SETFL, flags) < 0) return last_failure("fcntl");
  return {};
}

}  // namespace ratchet
