// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <linux/seccomp.h>
#include <napi.h>

#include <memory>
#include <vector>

#include "sys/messages.h"

namespace ratchet {

/// Who serves an fd before JavaScript hears that it is readable.
class Door {
 public:
  virtual ~Door() = default;
  virtual void begin_turn() = 0;
  /// Serves what it can. False when nothing is left for JavaScript.
  virtual bool serve_ready() = 0;
  virtual void forget(std::uint32_t flow) = 0;
  virtual std::vector<std::uint32_t> take_used() = 0;
  /// The same for doors that receive the same.
  virtual const void* kind() const = 0;
};

/// The door that JavaScript holds; empty when the value is none.
std::shared_ptr<Door> door_of(const Napi::Value& value);

Napi::Value reception_object(Napi::Env env, Result<Reception>& reception);
Napi::Object notification_object(Napi::Env env, const seccomp_notif& notification);

}  // namespace ratchet
