// SPDX-License-Identifier: Apache-2.0
// ptrace(2) belongs to one thread of the tracer. This is that thread: made for one operation, or a part of one, and joined at its end.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <type_traits>
#include <utility>

#include "sys/result.h"

namespace ratchet {

/// Runs `function(context)` on a new thread, all signals blocked, and waits for its end. The kernel has then detached all that it traced.
Outcome run_on_tracer_thread(void (*function)(void*), void* context);

/// So many threads of a process are worth a second one of ours: most of the time goes into what /proc and ptrace(2) do for who asks.
inline constexpr std::size_t worth_sharing = 8;

/// Runs `beside` on such a thread and `here` on this one, and waits for both. False when there could be no second: `beside` was not run.
bool beside_this_thread(const std::function<void()>& beside, const std::function<void()>& here);

/// The same as the first for any callable that returns a value.
template <typename Callable, typename Value = std::invoke_result_t<Callable>>
Result<Value> on_tracer_thread(Callable callable) {
  struct Context {
    Callable& callable;
    std::optional<Value> value;
  } context{callable, {}};
  const Outcome failed = run_on_tracer_thread(
      [](void* untyped) {
        auto* typed = static_cast<Context*>(untyped);
        typed->value.emplace(typed->callable());
      },
      &context);
  if (failed) return *failed;
  return std::move(*context.value);
}

}  // namespace ratchet
