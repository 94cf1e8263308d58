// SPDX-License-Identifier: Apache-2.0
#include "sys/messages.h"

#include <fcntl.h>
#include <sys/socket.h>

#include "addon/bindings.h"
#include "addon/door.h"
#include "addon/errors.h"
#include "addon/options.h"

using namespace ratchet;

namespace {

constexpr std::int64_t largest_message = 1 << 24;

Napi::Array fd_array(Napi::Env env, std::vector<UniqueFd>& fds) {
  const Napi::Array list = Napi::Array::New(env, fds.size());
  for (std::uint32_t index = 0; index < fds.size(); ++index) {
    list.Set(index, Napi::Number::New(env, fds[index].get()));
  }
  // Only now: had an allocation failed above, the fds would have been closed here.
  if (!env.IsExceptionPending()) {
    for (UniqueFd& fd : fds) fd.release();
  }
  return list;
}

Napi::Value make_socket_pair(const Napi::CallbackInfo& info) {
  Options options(info, "socketPair");
  const std::string type = options.text("type");
  const int kind = type == "stream" ? SOCK_STREAM : type == "seqpacket" ? SOCK_SEQPACKET : type == "datagram" ? SOCK_DGRAM : 0;
  if (options.ok() && kind == 0) options.refuse("type", "'seqpacket', 'stream' or 'datagram'");
  if (!options.ok()) return {};
  auto pair = socket_pair(kind);
  if (!pair.ok()) return throw_failure(info.Env(), pair.failure());
  std::vector<UniqueFd> fds;
  fds.push_back(std::move(pair.value().first));
  fds.push_back(std::move(pair.value().second));
  return fd_array(info.Env(), fds);
}

Napi::Value send_one(const Napi::CallbackInfo& info) {
  Options options(info, "sendMessage");
  const int fd = options.fd("fd");
  const std::vector<int> fds = options.fds("fds");
  const auto data = options.bytes("data");  // Last: reading another option can run a getter, which could detach it.
  if (!options.ok()) return {};
  auto sent = send_message(fd, data, fds);
  if (!sent.ok()) return throw_failure(info.Env(), sent.failure());
  const std::size_t* bytes = std::get_if<std::size_t>(&sent.value());
  return Napi::Number::New(info.Env(), bytes == nullptr ? -1.0 : static_cast<double>(*bytes));
}

Napi::Value receive_one(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Options options(info, "receiveMessage");
  const int fd = options.fd("fd");
  const auto max_bytes = static_cast<std::size_t>(options.integer("maxBytes", 1, largest_message));
  const auto max_fds = static_cast<std::size_t>(options.integer("maxFds", 0, max_fds_per_message));
  if (!options.ok()) return {};
  auto received = receive_message(fd, max_bytes, max_fds);
  return reception_object(env, received);
}

Napi::Value close_fd(const Napi::CallbackInfo& info) {
  Options options(info, "closeFd");
  const int fd = options.fd("fd");
  if (!options.ok()) return {};
  // EINTR and EIO come after the number was freed (close(2)); only a number that was not open is the caller's mistake.
  if (::close(fd) < 0 && errno == EBADF) return throw_failure(info.Env(), last_failure("close"));
  return info.Env().Undefined();
}

Napi::Value duplicate_fd(const Napi::CallbackInfo& info) {
  Options options(info, "duplicateFd");
  const int fd = options.fd("fd");
  if (!options.ok()) return {};
  const int duplicate = ::fcntl(fd, F_DUPFD_CLOEXEC, 0);
  if (duplicate < 0) return throw_failure(info.Env(), last_failure("fcntl"));
  return Napi::Number::New(info.Env(), duplicate);
}

}  // namespace

Napi::Value ratchet::reception_object(Napi::Env env, Result<Reception>& received) {
  if (!received.ok()) return throw_failure(env, received.failure());
  const Napi::Object result = Napi::Object::New(env);
  Message* message = std::get_if<Message>(&received.value());
  if (message == nullptr) {
    const bool end = std::holds_alternative<EndOfStream>(received.value());
    result.Set("kind", end ? "end" : "again");
    return result;
  }
  result.Set("kind", "message");
  result.Set("data", Napi::Buffer<std::uint8_t>::Copy(env, message->data.data(), message->data.size()));
  result.Set("fds", fd_array(env, message->fds));
  return result;
}

void register_messages(Napi::Env env, Napi::Object exports) {
  exports.Set("socketPair", Napi::Function::New(env, make_socket_pair, "socketPair"));
  exports.Set("sendMessage", Napi::Function::New(env, send_one, "sendMessage"));
  exports.Set("receiveMessage", Napi::Function::New(env, receive_one, "receiveMessage"));
  exports.Set("closeFd", Napi::Function::New(env, close_fd, "closeFd"));
  exports.Set("duplicateFd", Napi::Function::New(env, duplicate_fd, "duplicateFd"));
}
