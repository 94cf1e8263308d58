// SPDX-License-Identifier: Apache-2.0
#include "addon/options.h"

#include <cmath>

namespace ratchet {

Options::Options(const Napi::CallbackInfo& info, const char* function) : env_(info.Env()), function_(function) {
  if (info.Length() >= 1 && info[0].IsObject()) {
    object_ = info[0].As<Napi::Object>();
    return;
  }
  ok_ = false;
  Napi::TypeError::New(env_, function_ + ": takes one options object").ThrowAsJavaScriptException();
}

std::int64_t Options::integer(const char* name, std::int64_t least, std::int64_t most) {
  const Napi::Value value = get(name);
  if (!ok_) return 0;
  const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : NAN;
  // The bounds are all exact as doubles: at most 2^53.
  if (std::trunc(number) != number || number < static_cast<double>(least) || number > static_cast<double>(most)) {
    refuse(name, "an integer from " + std::to_string(least) + " to " + std::to_string(most));
    return 0;
  }
  return static_cast<std::int64_t>(number);
}

int Options::int32(const char* name) {
  return static_cast<int>(integer(name, std::numeric_limits<int>::min(), std::numeric_limits<int>::max()));
}

int Options::fd(const char* name) { return static_cast<int>(integer(name, 0, std::numeric_limits<int>::max())); }

std::vector<int> Options::fds(const char* name) {
  const Napi::Value value = get(name);
  std::vector<int> fds;
  if (!ok_) return fds;
  const char* wanted = "an array of file descriptor numbers";
  if (!value.IsArray()) {
    refuse(name, wanted);
    return fds;
  }
  const auto list = value.As<Napi::Array>();
  for (std::uint32_t index = 0; index < list.Length(); ++index) {
    const Napi::Value item = list.Get(index);
    const double number = item.IsNumber() ? item.As<Napi::Number>().DoubleValue() : NAN;
    if (std::trunc(number) != number || number < 0 || number > std::numeric_limits<int>::max()) {
      refuse(name, wanted);
      return {};
    }
    fds.push_back(static_cast<int>(number));
  }
  return fds;
}

bool Options::boolean(const char* name) {
  const Napi::Value value = get(name);
  if (ok_ && !value.IsBoolean()) refuse(name, "a boolean");
  return ok_ && value.As<Napi::Boolean>().Value();
}

std::string Options::text(const char* name) {
  const Napi::Value value = get(name);
  if (!ok_) return {};
  if (value.IsString()) {
    std::string text = value.As<Napi::String>().Utf8Value();
    if (text.find('\0') == std::string::npos) return text;
  }
  refuse(name, "a string without NUL");
  return {};
}

std::span<const std::uint8_t> Options::bytes(const char* name) {
  const Napi::Value value = get(name);
  if (!ok_) return {};
  if (value.IsTypedArray() && value.As<Napi::TypedArray>().TypedArrayType() == napi_uint8_array) {
    const auto array = value.As<Napi::Uint8Array>();
    return {array.Data(), array.ByteLength()};
  }
  refuse(name, "a Uint8Array");
  return {};
}

std::uint64_t Options::unsigned64(const char* name) {
  const Napi::Value value = get(name);
  if (!ok_) return 0;
  bool exact = false;
  const std::uint64_t number = value.IsBigInt() ? value.As<Napi::BigInt>().Uint64Value(&exact) : 0;
  if (!exact) refuse(name, "a bigint from 0 to 2n ** 64n - 1n");
  return number;
}

std::int64_t Options::signed64(const char* name) {
  const Napi::Value value = get(name);
  if (!ok_) return 0;
  bool exact = false;
  const std::int64_t number = value.IsBigInt() ? value.As<Napi::BigInt>().Int64Value(&exact) : 0;
  if (!exact) refuse(name, "a bigint from -(2n ** 63n) to 2n ** 63n - 1n");
  return number;
}

Options Options::object(const char* name) {
  Options inner(env_, function_, prefix_ + name + ".");
  const Napi::Value value = get(name);
  if (ok_ && !value.IsObject()) refuse(name, "an object");
  inner.ok_ = ok_;
  if (ok_) inner.object_ = value.As<Napi::Object>();
  return inner;
}

void Options::refuse(const char* name, const std::string& wanted) {
  ok_ = false;
  Napi::TypeError::New(env_, function_ + ": option \"" + prefix_ + name + "\" must be " + wanted).ThrowAsJavaScriptException();
}

Napi::Value Options::get(const char* name) {
  if (!ok_) return {};
  const Napi::Value value = object_.Get(name);
  if (env_.IsExceptionPending()) ok_ = false;  // A getter of the caller's threw: that is the error to show.
  return value;
}

}  // namespace ratchet
