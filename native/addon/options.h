// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <napi.h>

#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

namespace ratchet {

/// Reads the one options object of a call. The first option that is absent or of another type leaves a pending TypeError
/// that names it; every read after that gives a zero, so a binding checks `ok()` once, before it acts.
class Options {
 public:
  Options(const Napi::CallbackInfo& info, const char* function);

  bool ok() const { return ok_; }
  Napi::Env env() const { return env_; }

  /// A number without fraction between `least` and `most`.
  std::int64_t integer(const char* name, std::int64_t least, std::int64_t most);
  int int32(const char* name);
  /// An fd number, from 0.
  int fd(const char* name);
  std::vector<int> fds(const char* name);
  /// Numbers from 0, of which each is the place of something in a list of `count`.
  std::vector<std::size_t> places(const char* name, std::size_t count);
  bool boolean(const char* name);
  /// Without NUL: the kernel would see only what is before it.
  std::string text(const char* name);
  /// Bytes of a Uint8Array, valid until JavaScript runs again.
  std::span<const std::uint8_t> bytes(const char* name);
  std::vector<std::span<const std::uint8_t>> bytes_list(const char* name);
  /// A BigUint64Array of at least so many words, which stays where it is as long as JavaScript has it.
  std::span<std::uint64_t> words(const char* name, std::size_t at_least);
  /// A bigint that fits.
  std::uint64_t unsigned64(const char* name);
  std::int64_t signed64(const char* name);
  /// An object within, read by the same rules; its options are named `name.inner`.
  Options object(const char* name);
  std::vector<Options> objects(const char* name);

  /// Leaves the TypeError: "function: option "name" must be ..."
  void refuse(const char* name, const std::string& wanted);

 private:
  Options(Napi::Env env, std::string function, std::string prefix) : env_(env), function_(std::move(function)), prefix_(std::move(prefix)) {}
  Napi::Value get(const char* name);
  /// The items of an array, each of which satisfies `fits`.
  std::vector<Napi::Value> items(const char* name, bool (*fits)(const Napi::Value&), const char* wanted);

  Napi::Env env_;
  Napi::Object object_;
  std::string function_;
  std::string prefix_;
  bool ok_ = true;
};

inline constexpr std::int64_t max_safe_integer = (std::int64_t{1} << 53) - 1;

}  // namespace ratchet
