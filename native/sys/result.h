// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cerrno>
#include <optional>
#include <utility>
#include <variant>

namespace ratchet {

/// A system call that failed: its errno and its name.
struct Failure {
  int error;
  const char* syscall;
};

/// The failure of the system call that has just returned an error.
inline Failure last_failure(const char* syscall) { return {errno, syscall}; }

/// A value or the failure that prevented it.
template <typename Value>
class [[nodiscard]] Result {
 public:
  Result(Value value) : content_(std::move(value)) {}
  Result(Failure failure) : content_(failure) {}

  bool ok() const { return std::holds_alternative<Value>(content_); }
  Value& value() { return *std::get_if<Value>(&content_); }
  const Value& value() const { return *std::get_if<Value>(&content_); }
  Failure failure() const { return *std::get_if<Failure>(&content_); }

 private:
  std::variant<Value, Failure> content_;
};

/// Nothing when all went well.
using Outcome = std::optional<Failure>;

}  // namespace ratchet
