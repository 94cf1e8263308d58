// SPDX-License-Identifier: Apache-2.0
#include "sys/processes.h"

#include "addon/bindings.h"
#include "addon/errors.h"
#include "addon/options.h"
#include "sys/holdings.h"

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

Napi::Value holdings_of(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Options options(info, "lookAtHoldings");
  const auto pid = static_cast<pid_t>(options.integer("pid", 1, std::numeric_limits<pid_t>::max()));
  const int pidfd = options.fd("pidfd");
  const bool wanted = options.boolean("descriptors");
  if (!options.ok()) return {};
  const auto looked = look_at_holdings(pid, pidfd, wanted);
  if (!looked.ok()) return throw_failure(env, looked.failure());
  const Holdings& found = looked.value();
  auto descriptors = Napi::Array::New(env);
  for (const HeldDescriptor& held : found.descriptors) {
    auto descriptor = Napi::Object::New(env);
    descriptor.Set("tid", static_cast<double>(held.tid));
    descriptor.Set("fd", static_cast<double>(held.fd));
    descriptor.Set("what", held.what);
    if (held.domain >= 0) descriptor.Set("domain", static_cast<double>(held.domain));
    if (held.type >= 0) descriptor.Set("type", static_cast<double>(held.type));
    descriptors.Set(descriptors.Length(), descriptor);
  }
  auto threads = Napi::Array::New(env);
  for (const ThreadHoldings& held : found.threads) {
    auto thread = Napi::Object::New(env);
    auto children = Napi::Array::New(env);
    for (const pid_t child : held.children) children.Set(children.Length(), static_cast<double>(child));
    thread.Set("tid", static_cast<double>(held.tid));
    thread.Set("name", held.name);
    thread.Set("filters", static_cast<double>(held.filters));
    thread.Set("children", children);
    threads.Set(threads.Length(), thread);
  }
  auto result = Napi::Object::New(env);
  result.Set("descriptors", descriptors);
  result.Set("threads", threads);
  result.Set("mapsRing", found.maps_ring);
  return result;
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
  exports.Set("lookAtHoldings", Napi::Function::New(env, holdings_of, "lookAtHoldings"));
  exports.Set("setParentDeathSignal", Napi::Function::New(env, set_death_signal, "setParentDeathSignal"));
}
