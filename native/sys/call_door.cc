// SPDX-License-Identifier: Apache-2.0
#include "sys/call_door.h"

#include <endian.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>

#include "sys/files.h"
#include "sys/processes.h"

namespace ratchet {

namespace {

void write_key(std::string& key, const SocketKind& kind, AddressBytes address) {
  key.assign(reinterpret_cast<const char*>(&kind), sizeof kind);
  key.append(reinterpret_cast<const char*>(address.data()), address.size());
}

std::optional<SocketKind> kind_of(int fd) {
  auto domain = socket_option(fd, SOL_SOCKET, SO_DOMAIN);
  auto type = socket_option(fd, SOL_SOCKET, SO_TYPE);
  auto protocol = socket_option(fd, SOL_SOCKET, SO_PROTOCOL);
  if (!domain.ok() || !type.ok() || !protocol.ok()) return {};
  return SocketKind{domain.value(), type.value(), protocol.value()};
}

/// What connect(2) says, without waiting in it. A blocking socket is not blocking for that long; its caller waits for the connection itself.
int connect_shared(int fd, AddressBytes address, bool blocking) {
  int on = 1;
  if (blocking && ::ioctl(fd, FIONBIO, &on) < 0) return errno;
  auto connecting = connect_socket(fd, address);
  // Loopback has made a connection by the time of a second look.
  if (blocking && connecting.ok() && connecting.value() == Connecting::in_progress) connecting = connect_socket(fd, address);
  int off = 0;
  if (blocking) (void)::ioctl(fd, FIONBIO, &off);
  if (!connecting.ok()) return blocking && connecting.failure().error == EALREADY ? EINPROGRESS : connecting.failure().error;
  return connecting.value() == Connecting::connected ? 0 : EINPROGRESS;
}

std::string name_of(pid_t tid) {
  auto file = open_file(AT_FDCWD, "/proc/" + std::to_string(tid) + "/comm", 0, 0, 0);
  if (!file.ok()) return {};
  char name[64];
  const ssize_t length = ::read(file.value().get(), name, sizeof name);
  return length > 0 ? std::string(name, static_cast<std::size_t>(length) - 1) : std::string();
}

}  // namespace

Result<std::variant<seccomp_notif, CallerGone>> CallDoor::receive() {
  begun_.reset();
  while (take_turn()) {
    auto received = receive_notification(options_.listener_fd);
    const seccomp_notif* call = received.ok() ? std::get_if<seccomp_notif>(&received.value()) : nullptr;
    if (call == nullptr) return received;
    note(call->id);
    if (!serve(*call, monotonic_now())) return received;
  }
  return std::variant<seccomp_notif, CallerGone>(CallerGone{});
}

bool CallDoor::serve(const seccomp_notif& call, std::uint64_t started) {
  const auto fd = static_cast<std::int32_t>(call.data.args[0]);
  const auto length = static_cast<std::int32_t>(call.data.args[2]);
  if (flows_.empty() || call.data.nr != options_.nr || call.data.arch != options_.audit_arch || call.pid == 0) return false;
  std::array<std::uint8_t, sizeof(sockaddr_storage)> bytes;
  if (fd < 0 || length <= 0 || static_cast<std::size_t>(length) > bytes.size()) return false;
  const auto tid = static_cast<pid_t>(call.pid);
  const std::span<std::uint8_t> address(bytes.data(), static_cast<std::size_t>(length));
  if (read_memory(tid, call.data.args[1], address)) return false;
  auto pidfd = open_pidfd(tid, true);
  if (!pidfd.ok()) return false;
  auto taken = fd_of_process(pidfd.value().get(), fd);
  if (!taken.ok()) return false;
  UniqueFd socket = std::move(taken.value());
  const auto kind = kind_of(socket.get());
  if (!kind) return false;
  write_key(key_, *kind, address);
  const auto found = flows_.find(key_);
  if (found == flows_.end()) return false;
  CallFlow& flow = found->second;
  const bool told = options_.trail->tells(started);
  if (told && options_.trail->is_full()) return false;
  if (!flow.target.holds()) {
    flows_.erase(found);
    return false;
  }
  flow.used = true;
  const int flags = ::fcntl(socket.get(), F_GETFL);
  if (flags < 0) return false;
  std::string thread = told ? name_of(tid) : std::string();
  // What was read and taken is the caller's if it waits still (seccomp_unotify(2)).
  auto waits = notification_valid(options_.listener_fd, call.id);
  if (!waits.ok() || !waits.value()) return false;
  const bool blocking = (flags & O_NONBLOCK) == 0;
  const int error = connect_shared(socket.get(), flow.target.address(), blocking);
  if (error != 0 && (error != EINPROGRESS || blocking)) {
    begun_ = Begun{std::move(socket), flow.number, error};
    return false;
  }
  // Ours goes before the answer: when the caller closes its own then, the socket is gone.
  socket = UniqueFd();
  options_.trail->count();
  auto answered = error == 0 ? answer_value(options_.listener_fd, call.id, 0) : answer_errno(options_.listener_fd, call.id, error);
  (void)answered;  // The caller may be gone by now. It was decided and done all the same.
  if (told) options_.trail->tell({flow.number, tid, std::move(thread), error, (monotonic_now() - started) / 1000});
  return true;
}

void CallDoor::note(std::uint64_t id) {
  ReceivedIds& received = *options_.received;
  received.last = htobe64(id);
  if (received.any != 0) return;
  received.first = htobe64(id);
  received.any = htobe32(1);
}

bool CallDoor::add(const SocketKind& kind, AddressBytes address, CallFlow flow) {
  write_key(key_, kind, address);
  return flows_.try_emplace(key_, std::move(flow)).second;
}

}  // namespace ratchet
