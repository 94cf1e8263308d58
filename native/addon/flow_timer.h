// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <napi.h>
#include <uv.h>

#include <memory>

#include "addon/options.h"
#include "sys/flow_trail.h"

namespace ratchet {

/// A trail, and the timer that tells JavaScript a moment after the first record that there are some. It lives until the environment ends.
class FlowTimer : public std::enable_shared_from_this<FlowTimer> {
 public:
  /// Null and a pending error when the option `trail` is none.
  static std::shared_ptr<FlowTimer> in(const Napi::CallbackInfo& info, Options& options);

  FlowTimer(Napi::Env env, FlowTrail trail, std::uint64_t delay_ms, const Napi::Function& callback, const Napi::Object& cells);

  /// Nothing, or what libuv says.
  int open(uv_loop_t* loop);
  std::shared_ptr<FlowTrail> trail() { return {shared_from_this(), &trail_}; }
  /// To be called after something was served.
  void start_if_due();

 private:
  static void on_time(uv_timer_t* timer);
  static void on_closed(uv_handle_t* closed);
  static void on_environment_end(napi_async_cleanup_hook_handle, void* data);

  napi_env env_;
  FlowTrail trail_;
  std::uint64_t delay_ms_;
  Napi::FunctionReference callback_;
  Napi::ObjectReference cells_;
  std::unique_ptr<Napi::AsyncContext> context_;
  uv_timer_t timer_{};
  napi_async_cleanup_hook_handle hook_ = nullptr;
  /// Held by the loop.
  std::shared_ptr<FlowTimer> self_;
};

/// Calls back into JavaScript from the loop; a throw there is an uncaught exception, as for any callback of Node's own.
void call_back(Napi::Env env, Napi::FunctionReference& callback, std::initializer_list<napi_value> arguments, Napi::AsyncContext& context);

}  // namespace ratchet
