// SPDX-License-Identifier: Apache-2.0
#include "sys/tighten.h"

#include "addon/bindings.h"
#include "addon/errors.h"
#include "addon/options.h"

using namespace ratchet;

namespace {

pid_t process_id(Options& options, const char* name) {
  return static_cast<pid_t>(options.integer(name, 1, std::numeric_limits<pid_t>::max()));
}

std::chrono::milliseconds deadline(Options& options) {
  constexpr std::int64_t an_hour = 3'600'000;
  return std::chrono::milliseconds(options.integer("deadlineMs", 1, an_hour));
}

Napi::Value inject(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Options options(info, "injectFilter");
  const InjectOptions wanted{process_id(options, "pid"), options.fd("pidfd"), options.bytes("program"), deadline(options)};
  if (!options.ok()) return {};
  const auto outcome = inject_filter(wanted);
  auto result = Napi::Object::New(env);
  if (const auto* injected = std::get_if<Injected>(&outcome)) {
    result.Set("ok", true);
    result.Set("tid", static_cast<double>(injected->tid));
    result.Set("stoppedMicroseconds", static_cast<double>(injected->stopped.count()));
    return result;
  }
  const auto& refusal = std::get<NotInjected>(outcome);
  result.Set("ok", false);
  result.Set("step", refusal.step);
  result.Set("errno", static_cast<double>(refusal.error));
  result.Set("tid", static_cast<double>(refusal.tid));
  result.Set("dirty", refusal.dirty);
  return result;
}

Napi::Value quiesce(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Options options(info, "quiesceThreads");
  const QuiesceOptions wanted{process_id(options, "pid"), options.fd("pidfd"), deadline(options)};
  if (!options.ok()) return {};
  auto waiting = quiesce_threads(wanted);
  if (!waiting.ok()) return throw_failure(env, waiting.failure());
  auto tids = Napi::Array::New(env);
  for (const pid_t tid : waiting.value()) tids.Set(tids.Length(), static_cast<double>(tid));
  auto result = Napi::Object::New(env);
  result.Set("waitingForBroker", tids);
  return result;
}

Napi::Value read_back(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Options options(info, "readFilters");
  const pid_t tid = process_id(options, "tid");
  const auto bound = deadline(options);
  if (!options.ok()) return {};
  auto programs = read_filters(tid, bound);
  if (!programs.ok()) return throw_failure(env, programs.failure());
  auto result = Napi::Array::New(env);
  for (const auto& program : programs.value())
    result.Set(result.Length(), Napi::Buffer<std::uint8_t>::Copy(env, program.data(), program.size()));
  return result;
}

}  // namespace

void register_tighten(Napi::Env env, Napi::Object exports) {
  exports.Set("injectFilter", Napi::Function::New(env, inject, "injectFilter"));
  exports.Set("quiesceThreads", Napi::Function::New(env, quiesce, "quiesceThreads"));
  exports.Set("readFilters", Napi::Function::New(env, read_back, "readFilters"));
}
