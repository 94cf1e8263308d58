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
  exports.Set("createTap", Napi::Function::New(env, make_tap, "createTap"));
  exports.Set("setInterfaceUp", Napi::Function::New(env, set_up, "setInterfaceUp"));
}
