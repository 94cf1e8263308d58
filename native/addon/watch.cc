// SPDX-License-Identifier: Apache-2.0
// watchFd: a callback on Node's event loop when an fd is ready, by libuv's uv_poll.
//
// Lifetime. A Poller is owned by the loop: it is born with its uv_poll_t and deleted in libuv's close callback, never
// earlier, because libuv touches the handle until then. The JavaScript object holds a weak reference (`Handle::poller`),
// emptied when closing begins, so that close() may be called twice, within the callback, or after the environment is gone.
// A watch that is never closed lives, and keeps the loop alive, until the environment ends; a clean-up hook closes it then.
#include <node_api.h>
#include <uv.h>

#include <memory>

#include "addon/bindings.h"
#include "addon/door.h"
#include "addon/errors.h"
#include "addon/flow_timer.h"
#include "addon/options.h"

using namespace ratchet;

namespace {

struct Poller;

/// What the JavaScript object's close() reaches the poller by.
struct Handle {
  Poller* poller = nullptr;
};

struct Poller {
  uv_poll_t poll{};
  napi_env env = nullptr;
  Napi::FunctionReference callback;
  std::unique_ptr<Napi::AsyncContext> context;
  napi_async_cleanup_hook_handle cleanup_hook = nullptr;
  std::shared_ptr<Handle> handle;
  /// Serves first what it can.
  std::shared_ptr<Door> door;
  /// What was asked for, UV_READABLE and UV_WRITABLE.
  int wanted = 0;
};

void on_closed(uv_handle_t* closed) {
  auto* poller = static_cast<Poller*>(closed->data);
  const napi_async_cleanup_hook_handle hook = poller->cleanup_hook;
  delete poller;
  // Last: at its end the environment waits for this, and the poller's references are the environment's.
  if (hook != nullptr) napi_remove_async_cleanup_hook(hook);
}

/// Begins closing, once. After this neither the callback nor close() reaches the poller.
void close_poller(Poller* poller) {
  poller->handle->poller = nullptr;
  uv_close(reinterpret_cast<uv_handle_t*>(&poller->poll), on_closed);
}

void on_environment_end(napi_async_cleanup_hook_handle, void* data) {
  auto* poller = static_cast<Poller*>(data);
  // Already closing: on_closed is on its way and removes the hook, which is what the environment waits for.
  if (poller->handle->poller != nullptr) close_poller(poller);
}

void on_events(uv_poll_t* poll, int status, int events) {
  auto* poller = static_cast<Poller*>(poll->data);
  // Nobody is called when there was nothing but what the door has served.
  if (poller->door != nullptr) {
    poller->door->begin_turn();
    if (status == 0 && events == UV_READABLE && !poller->door->serve_ready()) return;
  }
  const Napi::Env env(poller->env);
  const Napi::HandleScope scope(env);
  // A negative status is libuv's word for EPOLLERR, a refused connection for one: it has stopped watching by then. We report
  // all that was asked for, so that the reader's or writer's next call meets the error itself.
  const bool failed = status < 0;
  const Napi::Object report = Napi::Object::New(env);
  report.Set("readable", Napi::Boolean::New(env, (failed ? poller->wanted : events & poller->wanted) & UV_READABLE));
  report.Set("writable", Napi::Boolean::New(env, (failed ? poller->wanted : events & poller->wanted) & UV_WRITABLE));
  report.Set("hangup", Napi::Boolean::New(env, failed || (events & UV_DISCONNECT) != 0));
  // The callback may close this watch: `poller` stays until the loop's close phase, with what it holds.
  call_back(env, poller->callback, {report}, *poller->context);
}

Napi::Value close_watch(const Napi::CallbackInfo& info) {
  auto* handle = static_cast<std::shared_ptr<Handle>*>(info.Data());
  if ((*handle)->poller != nullptr) close_poller((*handle)->poller);
  return info.Env().Undefined();
}

Napi::Value watch(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Options options(info, "watchFd");
  const int fd = options.fd("fd");
  const bool readable = options.boolean("readable");
  const bool writable = options.boolean("writable");
  if (!options.ok()) return {};
  if (info.Length() < 2 || !info[1].IsFunction()) {
    Napi::TypeError::New(env, "watchFd: takes a callback after the options").ThrowAsJavaScriptException();
    return {};
  }
  const auto door = info.Length() >= 3 ? door_of(info[2]) : nullptr;
  uv_loop_t* loop = nullptr;
  if (napi_get_uv_event_loop(env, &loop) != napi_ok) return throw_failure(env, {ENOSYS, "napi_get_uv_event_loop"});

  auto poller = std::make_unique<Poller>();
  // libuv refuses what epoll cannot watch (a plain file) and an fd that this loop watches already. It also sets O_NONBLOCK.
  if (const int error = uv_poll_init(loop, &poller->poll, fd); error < 0) return throw_failure(env, {-error, "epoll_ctl"});

  // From here on the loop owns it.
  Poller* owned = poller.release();
  owned->poll.data = owned;
  owned->env = env;
  owned->callback = Napi::Persistent(info[1].As<Napi::Function>());
  owned->context = std::make_unique<Napi::AsyncContext>(env, "ratchet:watchFd");
  owned->handle = std::make_shared<Handle>();
  owned->handle->poller = owned;
  owned->door = door;
  owned->wanted = (readable ? UV_READABLE : 0) | (writable ? UV_WRITABLE : 0);
  napi_add_async_cleanup_hook(env, on_environment_end, owned, &owned->cleanup_hook);
  if (const int error = uv_poll_start(&owned->poll, owned->wanted | UV_DISCONNECT, on_events); error < 0) {
    close_poller(owned);
    return throw_failure(env, {-error, "epoll_ctl"});
  }

  auto* handle = new std::shared_ptr<Handle>(owned->handle);
  const Napi::Function close = Napi::Function::New(env, close_watch, "close", handle);
  close.AddFinalizer([](Napi::Env, std::shared_ptr<Handle>* data) { delete data; }, handle);
  const Napi::Object result = Napi::Object::New(env);
  result.Set("close", close);
  return result;
}

}  // namespace

void register_watch(Napi::Env env, Napi::Object exports) {
  exports.Set("watchFd", Napi::Function::New(env, watch, "watchFd"));
}
