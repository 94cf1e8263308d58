// SPDX-License-Identifier: Apache-2.0
#include "sys/request_door.h"

#include <endian.h>
#include <sys/ioctl.h>

#include <array>
#include <cstring>

namespace ratchet {

namespace {

constexpr std::size_t id_bytes = 8;
constexpr std::size_t max_fds = 1;

/// The place of the number, and the request with zeros there.
void write_key(std::string& key, std::span<const std::uint8_t> request, std::size_t id_at) {
  key.assign(reinterpret_cast<const char*>(&id_at), sizeof id_at);
  key.append(reinterpret_cast<const char*>(request.data()), request.size());
  std::memset(key.data() + sizeof id_at + id_at, 0, id_bytes);
}

bool is_within(std::size_t id_at, std::size_t size) { return size >= id_bytes && id_at <= size - id_bytes; }

/// On a socket that nobody else has, and that does not wait: what connect(2) says. Loopback has made a connection by the time of a second look.
int connect_new(int fd, AddressBytes address) {
  auto connecting = connect_own_socket(fd, address);
  if (connecting.ok() && connecting.value() == Connecting::in_progress) connecting = connect_own_socket(fd, address);
  if (!connecting.ok()) return connecting.failure().error == EALREADY ? EINPROGRESS : connecting.failure().error;
  return connecting.value() == Connecting::connected ? 0 : EINPROGRESS;
}

}  // namespace

Result<Reception> RequestDoor::receive() {
  begun_.reset();
  while (take_turn()) {
    auto reception = receive_message(options_.fd, options_.max_bytes, max_fds);
    const Message* message = reception.ok() ? std::get_if<Message>(&reception.value()) : nullptr;
    if (message == nullptr || !serve(*message, monotonic_now())) return reception;
  }
  return Reception(Nothing{});
}

bool RequestDoor::serve(const Message& message, std::uint64_t started) {
  if (flows_.empty() || *options_.shut != 0 || !message.fds.empty()) return false;
  RequestFlow* const flow = find(message.data);
  if (flow == nullptr) return false;
  std::uint64_t id;
  std::memcpy(&id, message.data.data() + flow->id_at, id_bytes);
  // A number that does not grow breaks the protocol, and one with the highest bit may be written as a negative one: that is for others to say.
  if (be64toh(id) <= *options_.last_id || be64toh(id) >> 63 != 0) return false;
  const bool told = options_.trail->tells(started);
  if (told && options_.trail->is_full()) return false;
  if (!flow->target.holds()) {
    forget(flow->number);
    return false;
  }
  flow->used = true;
  auto made = create_socket(flow->domain, flow->type, 0);
  if (!made.ok()) return false;
  UniqueFd socket = std::move(made.value());
  int error = connect_new(socket.get(), flow->target.address());
  int off = 0;
  if (error == 0 && ::ioctl(socket.get(), FIONBIO, &off) < 0) error = errno;
  bool sent = false;
  if (error == 0) {
    std::memcpy(flow->reply.data() + flow->reply_id_at, &id, id_bytes);
    options_.trail->count();
    auto sending = send_message(options_.fd, flow->reply, std::array{socket.get()});
    sent = sending.ok() && std::holds_alternative<std::size_t>(sending.value());
    if (!sent) options_.trail->uncount();
  }
  if (!sent) {
    begun_ = Begun{std::move(socket), flow->number, error};
    return false;
  }
  *options_.last_id = be64toh(id);
  if (told) options_.trail->tell({flow->number, 0, {}, 0, (monotonic_now() - started) / 1000});
  return true;
}

RequestFlow* RequestDoor::find(std::span<const std::uint8_t> request) {
  std::size_t tried = SIZE_MAX;
  // Clients write all their requests alike: one place, mostly.
  for (auto& [key, flow] : flows_) {
    if (flow.id_at == tried || !is_within(flow.id_at, request.size())) continue;
    tried = flow.id_at;
    write_key(key_, request, tried);
    const auto found = flows_.find(key_);
    if (found != flows_.end()) return &found->second;
  }
  return nullptr;
}

bool RequestDoor::add(std::span<const std::uint8_t> request, RequestFlow flow) {
  if (!is_within(flow.id_at, request.size()) || !is_within(flow.reply_id_at, flow.reply.size())) return false;
  write_key(key_, request, flow.id_at);
  return flows_.try_emplace(key_, std::move(flow)).second;
}

}  // namespace ratchet
