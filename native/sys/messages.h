// SPDX-License-Identifier: Apache-2.0
// One packet, one call: sendmsg and recvmsg with file descriptors over SCM_RIGHTS. Never blocks, never raises SIGPIPE.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <variant>
#include <vector>

#include "sys/result.h"
#include "sys/unique_fd.h"

namespace ratchet {

/// The most fds that one message can carry (SCM_MAX_FD in the kernel's include/net/scm.h, unix(7)).
inline constexpr std::size_t max_fds_per_message = 253;

struct SocketPair {
  UniqueFd first;
  UniqueFd second;
};

/// An unnamed AF_UNIX pair, close-on-exec. `type` is SOCK_SEQPACKET or SOCK_STREAM.
Result<SocketPair> socket_pair(int type);

struct SocketFull {};

/// Bytes sent, or SocketFull. The fds stay the caller's.
Result<std::variant<std::size_t, SocketFull>> send_message(int fd, std::span<const std::uint8_t> data,
                                                           std::span<const int> fds);

struct Message {
  std::vector<std::uint8_t> data;
  std::vector<UniqueFd> fds;
};
struct NothingWaiting {};
struct EndOfStream {};
using Reception = std::variant<Message, NothingWaiting, EndOfStream>;

/// EPROTO, with every received fd closed, when data or control data were truncated, when a control message is anything
/// but SCM_RIGHTS, or when more than `max_fds` fds came. `max_fds` is at most max_fds_per_message.
Result<Reception> receive_message(int fd, std::size_t max_bytes, std::size_t max_fds);

}  // namespace ratchet
