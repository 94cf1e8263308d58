// SPDX-License-Identifier: Apache-2.0
#include "addon/options.h"

#include <algorithm>
#include <cmath>

namespace ratchet {

namespace {

bool is_count(const Napi::Value& value) {
  const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : NAN;
  return std::trunc(number) == number && number >= 0 && number <= std::numeric_limits<int>::max();
}

bool is_bytes(const Napi::Value& value) {
  return value.IsTypedArray() && value.As<Napi::TypedArray>().TypedArrayType() == napi_uint8_array;
}

bool is_object(const Napi::Value& value) { return value.IsObject(); }

std::span<const std::uint8_t> span_of(const Napi::Value& value) {
  const auto array = value.As<Napi::Uint8Array>();
  return {array.Data(), array.ByteLength()};
}

}  // namespace

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
  std::vector<int> fds;
  for (const Napi::Value& item : items(name, is_count, "an array of file descriptor numbers")) fds.push_back(item.As<Napi::Number>().Int32Value());
  return fds;
}

std::vector<std::size_t> Options::places(const char* name, std::size_t count) {
  std::vector<std::size_t> places;
  const char* wanted = "an array of places in the list";
  for (const Napi::Value& item : items(name, is_count, wanted)) places.push_back(item.As<Napi::Number>().Uint32Value());
  const bool known = std::all_of(places.begin(), places.end(), [count](std::size_t place) { return place < count; });
  if (ok_ && !known) refuse(name, wanted);
  return places;
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
  if (is_bytes(value)) return span_of(value);
  refuse(name, "a Uint8Array");
  return {};
}

std::vector<std::span<const std::uint8_t>> Options::bytes_list(const char* name) {
  std::vector<std::span<const std::uint8_t>> list;
  for (const Napi::Value& item : items(name, is_bytes, "an array of Uint8Array")) list.push_back(span_of(item));
  return list;
}

std::span<std::uint64_t> Options::words(const char* name, std::size_t at_least) {
  const Napi::Value value = get(name);
  if (!ok_) return {};
  if (value.IsTypedArray() && value.As<Napi::TypedArray>().TypedArrayType() == napi_biguint64_array) {
    auto array = value.As<Napi::BigUint64Array>();
    if (array.ElementLength() >= at_least) return {array.Data(), array.ElementLength()};
  }
  refuse(name, "a BigUint64Array of " + std::to_string(at_least) + " or more");
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

std::vector<Options> Options::objects(const char* name) {
  std::vector<Options> list;
  for (const Napi::Value& item : items(name, is_object, "an array of objects")) {
    Options inner(env_, function_, prefix_ + name + "[" + std::to_string(list.size()) + "].");
    inner.object_ = item.As<Napi::Object>();
    list.push_back(inner);
  }
  return list;
}

std::vector<Napi::Value> Options::items(const char* name, bool (*fits)(const Napi::Value&), const char* wanted) {
  const Napi::Value value = get(name);
  std::vector<Napi::Value> found;
  if (!ok_) return found;
  const std::uint32_t length = value.IsArray() ? value.As<Napi::Array>().Length() : 0;
  bool all_fit = value.IsArray();
  for (std::uint32_t index = 0; all_fit && index < length; ++index) {
    found.push_back(value.As<Napi::Array>().Get(index));
    all_fit = fits(found.back());
  }
  if (all_fit) return found;
  refuse(name, wanted);
  return {};
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
