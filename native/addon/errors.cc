// SPDX-License-Identifier: Apache-2.0
#include "addon/errors.h"

#include <cstring>
#include <string>

namespace ratchet {

Napi::Value throw_failure(Napi::Env env, Failure failure) {
  const char* known_name = ::strerrorname_np(failure.error);
  const char* known_description = ::strerrordesc_np(failure.error);
  const std::string name = known_name != nullptr ? known_name : "errno " + std::to_string(failure.error);
  const std::string description = known_description != nullptr ? known_description : "unknown error";
  const Napi::Error error = Napi::Error::New(env, name + ": " + description + ", " + failure.syscall);
  error.Set("code", name);
  error.Set("errno", Napi::Number::New(env, failure.error));
  error.Set("syscall", failure.syscall);
  error.ThrowAsJavaScriptException();
  return {};
}

Napi::Value undefined_or_throw(Napi::Env env, const Outcome& outcome) {
  if (outcome) return throw_failure(env, *outcome);
  return env.Undefined();
}

Napi::Value fd_or_throw(Napi::Env env, Result<UniqueFd> result) {
  if (!result.ok()) return throw_failure(env, result.failure());
  return Napi::Number::New(env, result.value().release());
}

}  // namespace ratchet
