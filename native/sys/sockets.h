// SPDX-License-Identifier: Apache-2.0
// Sockets on raw sockaddr bytes: who may be called is decided elsewhere, on these same bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "sys/result.h"
#include "sys/unique_fd.h"

namespace ratchet {

using AddressBytes = std::span<const std::uint8_t>;

/// socket(2), with SOCK_CLOEXEC | SOCK_NONBLOCK added.
Result<UniqueFd> create_socket(int domain, int type, int protocol);

enum class Connecting { connected, in_progress };

/// connect(2). A unix socket whose listener's queue is full fails with EAGAIN (connect(2)).
Result<Connecting> connect_socket(int fd, AddressBytes address);

/// The same on a socket that nobody else holds: that it does not wait is up to its O_NONBLOCK alone.
Result<Connecting> connect_own_socket(int fd, AddressBytes address);

/// sendmsg(2) that neither waits nor signals. Without `address` the socket's own peer is meant. `flags` are added to MSG_DONTWAIT | MSG_NOSIGNAL.
Result<std::size_t> send_to(int fd, AddressBytes data, AddressBytes address, int flags);

Outcome bind_socket(int fd, AddressBytes address);
Outcome listen_socket(int fd, int backlog);
Result<int> socket_option(int fd, int level, int name);
Outcome set_socket_option(int fd, int level, int name, int value);

/// accept4(2), close-on-exec and non-blocking. Empty when nobody waits, or who waited is gone.
Result<std::optional<UniqueFd>> accept_connection(int fd);

/// Who connected, as it was then: SO_PEERCRED, and SO_PEERPIDFD (Linux 6.5), which names that process and no later one of its number.
struct Peer {
  int pid;
  std::uint32_t uid;
  UniqueFd pidfd;
};
Result<Peer> socket_peer(int fd);
/// The user alone, of one that may have ended since.
Result<std::uint32_t> peer_user(int fd);

/// getsockname(2), exactly the bytes that the kernel gave.
Result<std::vector<std::uint8_t>> socket_name(int fd);

/// F_GETFL and F_SETFL.
Result<int> status_flags(int fd);
Outcome set_status_flags(int fd, int flags);

}  // namespace ratchet
