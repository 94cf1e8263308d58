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

std::chrono::milliseconds milliseconds(Options& options, const char* name) {
  constexpr std::int64_t an_hour = 3'600'000;
  return std::chrono::milliseconds(options.integer(name, 0, an_hour));
}

std::chrono::milliseconds deadline(Options& options) { return milliseconds(options, "deadlineMs"); }

Napi::Value refusal_of(Napi::Env env, const NotInjected& refusal) {
  auto result = Napi::Object::New(env);
  result.Set("ok", false);
  result.Set("step", refusal.step);
  result.Set("errno", static_cast<double>(refusal.error));
  result.Set("tid", static_cast<double>(refusal.tid));
  result.Set("dirty", refusal.dirty);
  return result;
}

Napi::Array numbers(Napi::Env env, const auto& values) {
  auto array = Napi::Array::New(env);
  for (const auto value : values) array.Set(array.Length(), static_cast<double>(value));
  return array;
}

Napi::Value inject(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Options options(info, "injectFilter");
  const InjectOptions wanted{process_id(options, "pid"), options.fd("pidfd"), options.bytes("program"), deadline(options)};
  if (!options.ok()) return {};
  const auto outcome = inject_filter(wanted);
  if (const auto* refusal = std::get_if<NotInjected>(&outcome)) return refusal_of(env, *refusal);
  const auto& injected = std::get<Injected>(outcome);
  auto result = Napi::Object::New(env);
  result.Set("ok", true);
  result.Set("tid", static_cast<double>(injected.tid));
  result.Set("stoppedMicroseconds", static_cast<double>(injected.stopped.count()));
  return result;
}

Napi::Value inject_each(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Options options(info, "injectByThread");
  InjectByThreadOptions wanted{process_id(options, "pid"), options.fd("pidfd"), options.bytes_list("programs"), {}, {}, {}, {}, deadline(options)};
  wanted.others = options.places("others", wanted.programs.size());
  const auto together = options.integer("together", -1, static_cast<std::int64_t>(wanted.programs.size()) - 1);
  if (together >= 0) wanted.together = static_cast<std::size_t>(together);
  const auto ruleset = options.integer("ruleset", -1, std::numeric_limits<int>::max());
  if (ruleset >= 0) wanted.ruleset = static_cast<int>(ruleset);
  for (Options& thread : options.objects("threads")) {
    wanted.threads.push_back({process_id(thread, "tid"), thread.places("programs", wanted.programs.size())});
    if (!thread.ok()) return {};
  }
  if (!options.ok()) return {};
  const auto outcome = inject_by_thread(wanted);
  if (const auto* refusal = std::get_if<NotInjected>(&outcome)) return refusal_of(env, *refusal);
  const auto& injected = std::get<InjectedByThread>(outcome);
  auto result = Napi::Object::New(env);
  result.Set("ok", true);
  result.Set("tids", numbers(env, injected.tids));
  result.Set("stoppedMicroseconds", static_cast<double>(injected.stopped.count()));
  return result;
}

const char* name_of(Visit visit) {
  switch (visit) {
    case Visit::stopped:
      return "stopped";
    case Visit::waiting:
      return "waiting";
    case Visit::kernel:
      return "kernel";
    case Visit::refused:
      return "refused";
  }
  return "";
}

Napi::Object object_of(Napi::Env env, const Inspection& inspection) {
  auto threads = Napi::Array::New(env);
  for (const InspectedThread& found : inspection.threads) {
    auto thread = Napi::Object::New(env);
    thread.Set("tid", static_cast<double>(found.tid));
    thread.Set("name", found.name);
    thread.Set("mode", static_cast<double>(found.seccomp_mode));
    thread.Set("filters", static_cast<double>(found.filters));
    thread.Set("noNewPrivs", found.no_new_privs);
    thread.Set("capabilities", Napi::BigInt::New(env, found.capabilities));
    thread.Set("visit", name_of(found.visit));
    if (found.programs) thread.Set("programs", numbers(env, *found.programs));
    threads.Set(threads.Length(), thread);
  }
  auto programs = Napi::Array::New(env);
  for (const auto& program : inspection.programs)
    programs.Set(programs.Length(), Napi::Buffer<std::uint8_t>::Copy(env, program.data(), program.size()));
  auto result = Napi::Object::New(env);
  result.Set("threads", threads);
  result.Set("programs", programs);
  result.Set("unreadable", static_cast<double>(inspection.unreadable));
  result.Set("longestStopMicroseconds", static_cast<double>(inspection.longest_stop.count()));
  return result;
}

Napi::Value inspect(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Options options(info, "inspectThreads");
  const InspectOptions wanted{process_id(options, "pid"), options.fd("pidfd"), milliseconds(options, "patienceMs"), deadline(options)};
  if (!options.ok()) return {};
  const auto inspected = inspect_threads(wanted);
  if (!inspected.ok()) return throw_failure(env, inspected.failure());
  return object_of(env, inspected.value());
}

}  // namespace

void register_tighten(Napi::Env env, Napi::Object exports) {
  exports.Set("injectFilter", Napi::Function::New(env, inject, "injectFilter"));
  exports.Set("injectByThread", Napi::Function::New(env, inject_each, "injectByThread"));
  exports.Set("inspectThreads", Napi::Function::New(env, inspect, "inspectThreads"));
}
