// SPDX-License-Identifier: Apache-2.0
#include "sys/messages.h"

#include <sys/socket.h>

#include <algorithm>
#include <cstring>

namespace ratchet {

Result<SocketPair> socket_pair(int type) {
  int fds[2];
  if (::socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, fds) < 0) return last_failure("socketpair");
  return SocketPair{UniqueFd(fds[0]), UniqueFd(fds[1])};
}

Result<std::variant<std::size_t, SocketFull>> send_message(int fd, std::span<const std::uint8_t> data,
                                                           std::span<const int> fds) {
  if (fds.size() > max_fds_per_message) return Failure{EINVAL, "sendmsg"};

  iovec payload{const_cast<std::uint8_t*>(data.data()), data.size()};  // iovec has no const form; sendmsg only reads.
  alignas(cmsghdr) char control[CMSG_SPACE(max_fds_per_message * sizeof(int))];
  msghdr header{};
  header.msg_iov = &payload;
  header.msg_iovlen = 1;
  if (!fds.empty()) {
    std::memset(control, 0, CMSG_SPACE(fds.size_bytes()));  // The padding is copied into the kernel too.
    header.msg_control = control;
    header.msg_controllen = CMSG_SPACE(fds.size_bytes());
    cmsghdr* rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(fds.size_bytes());
    std::memcpy(CMSG_DATA(rights), fds.data(), fds.size_bytes());
  }

  ssize_t sent;
  do {
    sent = ::sendmsg(fd, &header, MSG_NOSIGNAL | MSG_DONTWAIT);
  } while (sent < 0 && errno == EINTR);
  if (sent >= 0) return std::variant<std::size_t, SocketFull>(static_cast<std::size_t>(sent));
  if (errno == EAGAIN) return std::variant<std::size_t, SocketFull>(SocketFull{});
  return last_failure("sendmsg");
}

namespace {

/// include/linux/socket.h since Linux 6.5.
constexpr int scm_pidfd = 0x04;

/// Takes ownership of every fd in the control messages. False when there is anything that is not a list of fds.
bool adopt_fds(msghdr& header, std::vector<UniqueFd>& fds) {
  bool only_rights = true;
  for (cmsghdr* item = CMSG_FIRSTHDR(&header); item != nullptr; item = CMSG_NXTHDR(&header, item)) {
    if (item->cmsg_level != SOL_SOCKET || item->cmsg_type != SCM_RIGHTS) only_rights = false;
    // Go on: a later one may carry fds that must be closed, and a pidfd (SO_PASSPIDFD) is an fd like any other.
    const bool carries_fds = item->cmsg_type == SCM_RIGHTS || item->cmsg_type == scm_pidfd;
    if (item->cmsg_level != SOL_SOCKET || !carries_fds || item->cmsg_len < CMSG_LEN(0)) continue;
    const std::size_t count = (item->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t index = 0; index < count; ++index) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(item) + index * sizeof(int), sizeof(int));
      fds.emplace_back(fd);
    }
  }
  return only_rights;
}

}  // namespace

Result<Reception> receive_message(int fd, std::size_t max_bytes, std::size_t max_fds) {
  if (max_fds > max_fds_per_message) return Failure{EINVAL, "recvmsg"};

  Message message;
  message.data.resize(std::max<std::size_t>(max_bytes, 1));  // Zero bytes of room would make every message look like the end.
  message.fds.reserve(max_fds + 1);
  iovec payload{message.data.data(), message.data.size()};
  // Room for one fd more than permitted: one too many is then seen as such, not only as MSG_CTRUNC.
  alignas(cmsghdr) char control[CMSG_SPACE((max_fds_per_message + 1) * sizeof(int))];
  msghdr header{};
  header.msg_iov = &payload;
  header.msg_iovlen = 1;
  header.msg_control = control;
  header.msg_controllen = CMSG_SPACE((max_fds + 1) * sizeof(int));

  ssize_t received;
  do {
    received = ::recvmsg(fd, &header, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  } while (received < 0 && errno == EINTR);
  if (received < 0) {
    if (errno == EAGAIN) return Reception(NothingWaiting{});
    return last_failure("recvmsg");
  }

  const bool only_rights = adopt_fds(header, message.fds);
  // MSG_CTRUNC also stands for fds that found no free number (RLIMIT_NOFILE): the message is incomplete either way.
  const bool truncated = (header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0;
  const auto length = static_cast<std::size_t>(received);
  if (truncated || !only_rights || message.fds.size() > max_fds || length > max_bytes) return Failure{EPROTO, "recvmsg"};
  // An empty packet cannot be told from the end of the stream (recv(2)), so we send none; with fds it is a message all the same.
  if (length == 0 && message.fds.empty()) return Reception(EndOfStream{});
  message.data.resize(length);
  return Reception(std::move(message));
}

}  // namespace ratchet
