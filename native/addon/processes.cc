// SPDX-License-Identifier: Apache-2.0
#include "sys/processes.h"

#include "addon/bindings.h"
#include "addon/errors.h"
#include "addon/options.h"

using namespace ratchet;

namespace {

constexpr std::int64_t largest_read = 1 << 24;

Napi::Value open_one(const Napi::CallbackInfo& info) {
  Options options(info, "openPidfd");
  const auto pid = static_cast<pid_t>(options.integer("pid", 1, std::numeric_limits<pid_t>::max()));
  const bool thread = options.boolean("thread");
  if (!options.ok()) return {};
  return fd_or_throw(info.Env(), open_pidfd(pid, thread));
}

Napi::Value get_fd(const Napi::CallbackInfo& info) {
  Options options(info, "getFdOfProcess");
  const int pidfd = options.fd("pidfd");
  const int fd = options.fd("fd");
  if (!options.ok()) return {};
  return fd_or_throw(info.Env(), fd_of_process(pidfd, fd));
}

Napi::Value signal_process(const Napi::CallbackInfo& info) {
  Options options(info, "sendSignal");
  const int pidfd = options.fd("pidfd");
  const int number = options.int32("signal");
  if (!options.ok()) return {};
  return undefined_or_throw(info.Env(), send_signal(pidfd, number));
}

Napi::Value reap_child(const Napi::CallbackInfo& info) {
  Options options(info, "reapChild");
  const int pidfd = options.fd("pidfd");
  if (!options.ok()) return {};
  auto ending = reap(pidfd);
  if (!ending.ok()) return throw_failure(info.Env(), ending.failure());
  const auto [code, signal] = ending.value();
  if (code < 0 && signal < 0) return info.Env().Undefined();
  const auto result = Napi::Object::New(info.Env());
  result.Set("code", code < 0 ? info.Env().Null() : Napi::Number::New(info.Env(), code));
  result.Set("signal", signal < 0 ? info.Env().Null() : Napi::Number::New(info.Env(), signal));
  return result;
}

Napi::Value set_limit(const Napi::CallbackInfo& info) {
  Options options(info, "limitChild");
  const auto pid = static_cast<pid_t>(options.integer("pid", 1, std::numeric_limits<pid_t>::max()));
  const int pidfd = options.fd("pidfd");
  const auto resource = static_cast<int>(options.integer("resource", 0, 15));
  const auto value = static_cast<std::uint64_t>(options.integer("value", 0, max_safe_integer));
  if (!options.ok()) return {};
  return undefined_or_throw(info.Env(), limit_child(pid, pidfd, resource, value));
}

Napi::Value read_remote(const Napi::CallbackInfo& info) {
  Options options(info, "readMemory");
  const auto tid = static_cast<pid_t>(options.integer("tid", 1, std::numeric_limits<pid_t>::max()));
  const std::uint64_t address = options.unsigned64("address");
  const auto length = static_cast<std::size_t>(options.integer("length", 0, largest_read));
  if (!options.ok()) return {};
  const auto buffer = Napi::Buffer<std::uint8_t>::New(info.Env(), length);
  if (const Outcome outcome = read_memory(tid, address, {buffer.Data(), length})) return throw_failure(info.Env(), *outcome);
  return buffer;
}

Napi::Value shares_files(const Napi::CallbackInfo& info) {
  Options options(info, "shareFiles");
  const auto one = static_cast<pid_t>(options.integer("one", 1, std::numeric_limits<pid_t>::max()));
  const auto other = static_cast<pid_t>(options.integer("other", 1, std::numeric_limits<pid_t>::max()));
  if (!options.ok()) return {};
  return Napi::Boolean::New(info.Env(), share_files(one, other));
}

Napi::Value set_death_signal(const Napi::CallbackInfo& info) {
  Options options(info, "setParentDeathSignal");
  const int number = options.int32("signal");
  if (!options.ok()) return {};
  return undefined_or_throw(info.Env(), set_parent_death_signal(number));
}

}  // namespace

void register_processes(Napi::Env env, Napi::Object exports) {
  exports.Set("openPidfd", Napi::Function::New(env, open_one, "openPidfd"));
  exports.Set("getFdOfProcess", Napi::Function::New(env, get_fd, "getFdOfProcess"));
  exports.Set("sendSignal", Napi::Function::New(env, signal_process, "sendSignal"));
  exports.Set("reapChild", Napi::Function::New(env, reap_child, "reapChild"));
  exports.Set("limitChild", Napi::Function::New(env, set_limit, "limitChild"));
  exports.Set("readMemory", Napi::Function::New(env, read_remote, "readMemory"));
  exports.Set("shareFiles", Napi::Function::New(env, shares_files, "shareFiles"));
  exports.Set("setParentDeathSignal", Napi::Function::New(env, set_death_signal, "setParentDeathSignal"));
}
