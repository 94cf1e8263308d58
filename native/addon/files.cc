// SPDX-License-Identifier: Apache-2.0
#include "sys/files.h"

#include "addon/bindings.h"
#include "addon/errors.h"
#include "addon/options.h"

using namespace ratchet;

namespace {

Napi::Value open_one(const Napi::CallbackInfo& info) {
  Options options(info, "openFile");
  const int directory_fd = options.int32("directoryFd");  // Negative for AT_FDCWD.
  const std::string path = options.text("path");
  const auto flags = static_cast<std::uint64_t>(options.integer("flags", 0, max_safe_integer));
  const auto mode = static_cast<std::uint64_t>(options.integer("mode", 0, max_safe_integer));
  const auto resolve = static_cast<std::uint64_t>(options.integer("resolve", 0, max_safe_integer));
  if (!options.ok()) return {};
  return fd_or_throw(info.Env(), open_file(directory_fd, path, flags, mode, resolve));
}

Napi::Value map_one(const Napi::CallbackInfo& info) {
  Options options(info, "mapShared");
  const int fd = options.fd("fd");
  const auto bytes = static_cast<std::size_t>(options.integer("bytes", 1, 1 << 24));
  if (!options.ok()) return {};
  auto mapped = map_shared(fd, bytes);
  if (!mapped.ok()) return throw_failure(info.Env(), mapped.failure());
  return Napi::ArrayBuffer::New(info.Env(), mapped.value().data(), mapped.value().size());
}

Napi::Value unlink_one(const Napi::CallbackInfo& info) {
  Options options(info, "unlinkFile");
  const std::string path = options.text("path");
  if (!options.ok()) return {};
  return undefined_or_throw(info.Env(), unlink_file(path));
}

Napi::Value make_memfd(const Napi::CallbackInfo& info) {
  Options options(info, "memfd");
  const std::string name = options.text("name");
  const bool seal = options.boolean("seal");
  const auto data = options.bytes("data");
  if (!options.ok()) return {};
  return fd_or_throw(info.Env(), create_memfd(name, data, seal));
}

Napi::Value make_tap(const Napi::CallbackInfo& info) {
  Options options(info, "createTap");
  const std::string name = options.text("name");
  const auto flags = static_cast<std::uint16_t>(options.integer("flags", 0, 0xffff));
  if (!options.ok()) return {};
  auto tap = create_tap(name, static_cast<short>(flags));
  if (!tap.ok()) return throw_failure(info.Env(), tap.failure());
  const Napi::Object result = Napi::Object::New(info.Env());
  result.Set("name", tap.value().name);
  result.Set("fd", Napi::Number::New(info.Env(), tap.value().fd.release()));
  return result;
}

Napi::Value make_sized_memfd(const Napi::CallbackInfo& info) {
  Options options(info, "sizedMemfd");
  const std::string name = options.text("name");
  const auto bytes = static_cast<std::uint64_t>(options.integer("bytes", 0, max_safe_integer));
  const int seals = options.int32("seals");
  if (!options.ok()) return {};
  return fd_or_throw(info.Env(), create_sized_memfd(name, bytes, seals));
}

Napi::Value set_mtu(const Napi::CallbackInfo& info) {
  Options options(info, "setInterfaceMtu");
  const std::string name = options.text("name");
  const int mtu = options.int32("mtu");
  if (!options.ok()) return {};
  return undefined_or_throw(info.Env(), set_interface_mtu(name, mtu));
}

Napi::Value join_bridge(const Napi::CallbackInfo& info) {
  Options options(info, "addToBridge");
  const std::string name = options.text("name");
  const std::string bridge = options.text("bridge");
  if (!options.ok()) return {};
  return undefined_or_throw(info.Env(), add_to_bridge(name, bridge));
}

Napi::Value set_owner(const Napi::CallbackInfo& info) {
  Options options(info, "setTapOwner");
  const int fd = options.fd("fd");
  const auto uid = static_cast<std::uint32_t>(options.integer("uid", 0, 0xffff'ffff));
  if (!options.ok()) return {};
  return undefined_or_throw(info.Env(), set_tap_owner(fd, uid));
}

Napi::Value open_peer(const Napi::CallbackInfo& info) {
  Options options(info, "openTerminalPeer");
  const int fd = options.fd("fd");
  if (!options.ok()) return {};
  auto terminal = open_terminal_peer(fd);
  if (!terminal.ok()) return throw_failure(info.Env(), terminal.failure());
  const Napi::Object result = Napi::Object::New(info.Env());
  result.Set("number", Napi::Number::New(info.Env(), terminal.value().number));
  result.Set("peer", Napi::Number::New(info.Env(), terminal.value().peer.release()));
  return result;
}

Napi::Value kind_of(const Napi::CallbackInfo& info) {
  Options options(info, "fileKind");
  const int fd = options.fd("fd");
  if (!options.ok()) return {};
  auto kind = file_kind(fd);
  if (!kind.ok()) return throw_failure(info.Env(), kind.failure());
  const Napi::Object result = Napi::Object::New(info.Env());
  result.Set("mode", Napi::Number::New(info.Env(), kind.value().mode));
  result.Set("major", Napi::Number::New(info.Env(), kind.value().major));
  result.Set("minor", Napi::Number::New(info.Env(), kind.value().minor));
  return result;
}

Napi::Value set_up(const Napi::CallbackInfo& info) {
  Options options(info, "setInterfaceUp");
  const std::string name = options.text("name");
  const bool up = options.boolean("up");
  if (!options.ok()) return {};
  return undefined_or_throw(info.Env(), set_interface_up(name, up));
}

}  // namespace

void register_files(Napi::Env env, Napi::Object exports) {
  exports.Set("openFile", Napi::Function::New(env, open_one, "openFile"));
  exports.Set("unlinkFile", Napi::Function::New(env, unlink_one, "unlinkFile"));
  exports.Set("mapShared", Napi::Function::New(env, map_one, "mapShared"));
  exports.Set("memfd", Napi::Function::New(env, make_memfd, "memfd"));
  exports.Set("sizedMemfd", Napi::Function::New(env, make_sized_memfd, "sizedMemfd"));
  exports.Set("setInterfaceMtu", Napi::Function::New(env, set_mtu, "setInterfaceMtu"));
  exports.Set("addToBridge", Napi::Function::New(env, join_bridge, "addToBridge"));
  exports.Set("setTapOwner", Napi::Function::New(env, set_owner, "setTapOwner"));
  exports.Set("openTerminalPeer", Napi::Function::New(env, open_peer, "openTerminalPeer"));
  exports.Set("fileKind", Napi::Function::New(env, kind_of, "fileKind"));
  exports.Set("createTap", Napi::Function::New(env, make_tap, "createTap"));
  exports.Set("setInterfaceUp", Napi::Function::New(env, set_up, "setInterfaceUp"));
}
