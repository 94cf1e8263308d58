// SPDX-License-Identifier: Apache-2.0
#include "sys/self.h"

#include "addon/bindings.h"
#include "addon/errors.h"
#include "addon/options.h"
#include "sys/file_thread.h"

using namespace ratchet;

namespace {

/// Nothing when an option or a path was wrong; the error is pending then.
std::optional<UniqueFd> ruleset_of(const Napi::CallbackInfo& info, const char* function) {
  Options options(info, function);
  const std::uint64_t handled = options.unsigned64("handled");
  const std::uint64_t scoped = options.unsigned64("scoped");
  std::vector<PathRight> rights;
  for (Options& right : options.objects("rights")) {
    rights.push_back({right.text("path"), right.unsigned64("access")});
    if (!right.ok()) return {};
  }
  if (!options.ok()) return {};
  if (handled == 0 && scoped == 0) return UniqueFd();
  auto ruleset = make_ruleset(handled, scoped, rights);
  if (ruleset.ok()) return std::move(ruleset.value());
  throw_failure(info.Env(), ruleset.failure());
  return {};
}

Napi::Value abi(const Napi::CallbackInfo& info) { return Napi::Number::New(info.Env(), landlock_abi()); }

Napi::Value restrict_all(const Napi::CallbackInfo& info) {
  const auto ruleset = ruleset_of(info, "restrictThreads");
  if (!ruleset) return {};
  return undefined_or_throw(info.Env(), restrict_threads(ruleset->get(), 0));
}

Napi::Value start_files(const Napi::CallbackInfo& info) {
  const auto ruleset = ruleset_of(info, "startFileThread");
  if (!ruleset) return {};
  auto tid = start_file_thread(ruleset->get());
  if (!tid.ok()) return throw_failure(info.Env(), tid.failure());
  return Napi::Number::New(info.Env(), tid.value());
}

Napi::Value keep(const Napi::CallbackInfo& info) {
  Options options(info, "keepCapabilities");
  const std::uint64_t capabilities = options.unsigned64("capabilities");
  if (!options.ok()) return {};
  return undefined_or_throw(info.Env(), keep_capabilities(capabilities));
}

/// Copied: the signal handlers of other threads read them.
Programs programs_in(Options& options) {
  Programs programs;
  for (const auto bytes : options.bytes_list("programs")) programs.emplace_back(bytes.begin(), bytes.end());
  return programs;
}

Napi::Value filter_together(const Napi::CallbackInfo& info) {
  Options options(info, "filterThreads");
  const auto program = options.bytes("program");
  if (!options.ok()) return {};
  return undefined_or_throw(info.Env(), filter_threads_together(program));
}

Napi::Value filter_each(const Napi::CallbackInfo& info) {
  Options options(info, "filterEachThread");
  const auto except = static_cast<pid_t>(options.integer("except", 0, std::numeric_limits<pid_t>::max()));
  const Programs programs = programs_in(options);
  if (!options.ok()) return {};
  return undefined_or_throw(info.Env(), filter_each_thread(programs, except));
}

Napi::Value filter_files(const Napi::CallbackInfo& info) {
  Options options(info, "filterFileThread");
  const Programs programs = programs_in(options);
  if (!options.ok()) return {};
  return undefined_or_throw(info.Env(), filter_file_thread(programs));
}

Napi::Value no_dumps(const Napi::CallbackInfo& info) { return undefined_or_throw(info.Env(), forbid_dumps()); }

Napi::Value limit(const Napi::CallbackInfo& info) {
  Options options(info, "setOwnLimit");
  const auto resource = static_cast<int>(options.integer("resource", 0, 15));
  const auto value = static_cast<std::uint64_t>(options.integer("value", 0, max_safe_integer));
  if (!options.ok()) return {};
  return undefined_or_throw(info.Env(), set_own_limit(resource, value));
}

}  // namespace

void register_self(Napi::Env env, Napi::Object exports) {
  exports.Set("landlockAbi", Napi::Function::New(env, abi, "landlockAbi"));
  exports.Set("restrictThreads", Napi::Function::New(env, restrict_all, "restrictThreads"));
  exports.Set("startFileThread", Napi::Function::New(env, start_files, "startFileThread"));
  exports.Set("keepCapabilities", Napi::Function::New(env, keep, "keepCapabilities"));
  exports.Set("filterThreads", Napi::Function::New(env, filter_together, "filterThreads"));
  exports.Set("filterEachThread", Napi::Function::New(env, filter_each, "filterEachThread"));
  exports.Set("filterFileThread", Napi::Function::New(env, filter_files, "filterFileThread"));
  exports.Set("forbidDumps", Napi::Function::New(env, no_dumps, "forbidDumps"));
  exports.Set("setOwnLimit", Napi::Function::New(env, limit, "setOwnLimit"));
}
