// SPDX-License-Identifier: Apache-2.0
#include "sys/sockets.h"

#include "addon/bindings.h"
#include "addon/errors.h"
#include "addon/options.h"

using namespace ratchet;

namespace {

Napi::Value create(const Napi::CallbackInfo& info) {
  Options options(info, "createSocket");
  const int domain = options.int32("domain");
  const int type = options.int32("type");
  const int protocol = options.int32("protocol");
  if (!options.ok()) return {};
  return fd_or_throw(info.Env(), create_socket(domain, type, protocol));
}

Napi::Value connect_to(const Napi::CallbackInfo& info) {
  Options options(info, "connectSocket");
  const int fd = options.fd("fd");
  const auto address = options.bytes("address");
  if (!options.ok()) return {};
  auto connecting = connect_socket(fd, address);
  if (!connecting.ok()) return throw_failure(info.Env(), connecting.failure());
  const bool connected = connecting.value() == Connecting::connected;
  return Napi::String::New(info.Env(), connected ? "connected" : "inprogress");
}

Napi::Value send_data(const Napi::CallbackInfo& info) {
  Options options(info, "sendTo");
  const int fd = options.fd("fd");
  const auto data = options.bytes("data");
  const auto address = options.bytes("address");
  const int flags = options.int32("flags");
  if (!options.ok()) return {};
  auto sent = send_to(fd, data, address, flags);
  if (!sent.ok()) return throw_failure(info.Env(), sent.failure());
  return Napi::Number::New(info.Env(), static_cast<double>(sent.value()));
}

Napi::Value bind_to(const Napi::CallbackInfo& info) {
  Options options(info, "bindSocket");
  const int fd = options.fd("fd");
  const auto address = options.bytes("address");
  if (!options.ok()) return {};
  return undefined_or_throw(info.Env(), bind_socket(fd, address));
}

Napi::Value listen_on(const Napi::CallbackInfo& info) {
  Options options(info, "listenSocket");
  const int fd = options.fd("fd");
  const int backlog = options.int32("backlog");
  if (!options.ok()) return {};
  return undefined_or_throw(info.Env(), listen_socket(fd, backlog));
}

Napi::Value get_option(const Napi::CallbackInfo& info) {
  Options options(info, "getSocketOption");
  const int fd = options.fd("fd");
  const int level = options.int32("level");
  const int name = options.int32("name");
  if (!options.ok()) return {};
  auto value = socket_option(fd, level, name);
  if (!value.ok()) return throw_failure(info.Env(), value.failure());
  return Napi::Number::New(info.Env(), value.value());
}

Napi::Value set_option(const Napi::CallbackInfo& info) {
  Options options(info, "setSocketOption");
  const int fd = options.fd("fd");
  const int level = options.int32("level");
  const int name = options.int32("name");
  const int value = options.int32("value");
  if (!options.ok()) return {};
  return undefined_or_throw(info.Env(), set_socket_option(fd, level, name, value));
}

Napi::Value accept_one(const Napi::CallbackInfo& info) {
  Options options(info, "acceptConnection");
  const int fd = options.fd("fd");
  if (!options.ok()) return {};
  auto accepted = accept_connection(fd);
  if (!accepted.ok()) return throw_failure(info.Env(), accepted.failure());
  if (!accepted.value().has_value()) return info.Env().Undefined();
  return Napi::Number::New(info.Env(), accepted.value()->release());
}

Napi::Value get_peer(const Napi::CallbackInfo& info) {
  Options options(info, "getPeer");
  const int fd = options.fd("fd");
  if (!options.ok()) return {};
  auto peer = socket_peer(fd);
  if (!peer.ok()) return throw_failure(info.Env(), peer.failure());
  const Napi::Object result = Napi::Object::New(info.Env());
  result.Set("pid", Napi::Number::New(info.Env(), peer.value().pid));
  result.Set("uid", Napi::Number::New(info.Env(), peer.value().uid));
  result.Set("pidfd", Napi::Number::New(info.Env(), peer.value().pidfd.release()));
  return result;
}

Napi::Value get_peer_user(const Napi::CallbackInfo& info) {
  Options options(info, "getPeerUser");
  const int fd = options.fd("fd");
  if (!options.ok()) return {};
  auto user = peer_user(fd);
  if (!user.ok()) return throw_failure(info.Env(), user.failure());
  return Napi::Number::New(info.Env(), user.value());
}

Napi::Value get_name(const Napi::CallbackInfo& info) {
  Options options(info, "getSocketName");
  const int fd = options.fd("fd");
  if (!options.ok()) return {};
  auto name = socket_name(fd);
  if (!name.ok()) return throw_failure(info.Env(), name.failure());
  return Napi::Buffer<std::uint8_t>::Copy(info.Env(), name.value().data(), name.value().size());
}

Napi::Value get_flags(const Napi::CallbackInfo& info) {
  Options options(info, "getStatusFlags");
  const int fd = options.fd("fd");
  if (!options.ok()) return {};
  auto flags = status_flags(fd);
  if (!flags.ok()) return throw_failure(info.Env(), flags.failure());
  return Napi::Number::New(info.Env(), flags.value());
}

Napi::Value set_flags(const Napi::CallbackInfo& info) {
  Options options(info, "setStatusFlags");
  const int fd = options.fd("fd");
  const int flags = options.int32("flags");
  if (!options.ok()) return {};
  return undefined_or_throw(info.Env(), set_status_flags(fd, flags));
}

}  // namespace

void register_sockets(Napi::Env env, Napi::Object exports) {
  exports.Set("createSocket", Napi::Function::New(env, create, "createSocket"));
  exports.Set("connectSocket", Napi::Function::New(env, connect_to, "connectSocket"));
  exports.Set("sendTo", Napi::Function::New(env, send_data, "sendTo"));
  exports.Set("bindSocket", Napi::Function::New(env, bind_to, "bindSocket"));
  exports.Set("listenSocket", Napi::Function::New(env, listen_on, "listenSocket"));
  exports.Set("acceptConnection", Napi::Function::New(env, accept_one, "acceptConnection"));
  exports.Set("getPeer", Napi::Function::New(env, get_peer, "getPeer"));
  exports.Set("getPeerUser", Napi::Function::New(env, get_peer_user, "getPeerUser"));
  exports.Set("getSocketOption", Napi::Function::New(env, get_option, "getSocketOption"));
  exports.Set("setSocketOption", Napi::Function::New(env, set_option, "setSocketOption"));
  exports.Set("getSocketName", Napi::Function::New(env, get_name, "getSocketName"));
  exports.Set("getStatusFlags", Napi::Function::New(env, get_flags, "getStatusFlags"));
  exports.Set("setStatusFlags", Napi::Function::New(env, set_flags, "setStatusFlags"));
}
