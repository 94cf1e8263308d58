// SPDX-License-Identifier: Apache-2.0
#include "addon/flow_timer.h"

#include <node_api.h>

#include "addon/bindings.h"
#include "addon/errors.h"

namespace ratchet {

std::shared_ptr<FlowTimer> FlowTimer::in(const Napi::CallbackInfo& info, Options& options) {
  if (!options.ok()) return {};
  const Napi::Value value = info[0].As<Napi::Object>().Get("trail");
  if (value.IsExternal()) return *value.As<Napi::External<std::shared_ptr<FlowTimer>>>().Data();
  options.refuse("trail", "what openFlowTrail gave");
  return {};
}

FlowTimer::FlowTimer(Napi::Env env, FlowTrail trail, std::uint64_t delay_ms, const Napi::Function& callback, const Napi::Object& cells)
    : env_(env),
      trail_(std::move(trail)),
      delay_ms_(delay_ms),
      callback_(Napi::Persistent(callback)),
      cells_(Napi::Persistent(cells)),
      context_(std::make_unique<Napi::AsyncContext>(env, "ratchet:flowTrail")) {}

int FlowTimer::open(uv_loop_t* loop) {
  if (const int error = uv_timer_init(loop, &timer_); error < 0) return error;
  timer_.data = this;
  uv_unref(reinterpret_cast<uv_handle_t*>(&timer_));
  self_ = shared_from_this();
  napi_add_async_cleanup_hook(env_, on_environment_end, this, &hook_);
  return 0;
}

void FlowTimer::start_if_due() {
  auto* handle = reinterpret_cast<uv_handle_t*>(&timer_);
  if (!trail_.is_empty() && !uv_is_active(handle) && !uv_is_closing(handle)) uv_timer_start(&timer_, on_time, delay_ms_, 0);
}

void FlowTimer::on_time(uv_timer_t* timer) {
  auto* self = static_cast<FlowTimer*>(timer->data);
  const Napi::Env env(self->env_);
  const Napi::HandleScope scope(env);
  call_back(env, self->callback_, {}, *self->context_);
}

void FlowTimer::on_environment_end(napi_async_cleanup_hook_handle, void* data) {
  uv_close(reinterpret_cast<uv_handle_t*>(&static_cast<FlowTimer*>(data)->timer_), on_closed);
}

void FlowTimer::on_closed(uv_handle_t* closed) {
  auto* self = static_cast<FlowTimer*>(closed->data);
  self->callback_.Reset();
  self->cells_.Reset();
  self->context_.reset();
  const napi_async_cleanup_hook_handle hook = self->hook_;
  self->self_.reset();
  // Last: at its end the environment waits for this.
  napi_remove_async_cleanup_hook(hook);
}

void call_back(Napi::Env env, Napi::FunctionReference& callback, std::initializer_list<napi_value> arguments, Napi::AsyncContext& context) {
  callback.MakeCallback(env.Global(), arguments, context);
  if (!env.IsExceptionPending()) return;
  napi_value exception;
  napi_get_and_clear_last_exception(env, &exception);
  napi_fatal_exception(env, exception);
}

}  // namespace ratchet

using namespace ratchet;

namespace {

Napi::Value open_trail(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Options options(info, "openFlowTrail");
  const auto served = options.words("served", 1);
  const auto tell_from = options.words("tellFrom", 1);
  const auto room = static_cast<std::size_t>(options.integer("room", 1, 1 << 16));
  const auto delay_ms = static_cast<std::uint64_t>(options.integer("delayMs", 0, 1000));
  if (!options.ok()) return {};
  if (info.Length() < 2 || !info[1].IsFunction()) {
    Napi::TypeError::New(env, "openFlowTrail: takes a callback after the options").ThrowAsJavaScriptException();
    return {};
  }
  uv_loop_t* loop = nullptr;
  if (napi_get_uv_event_loop(env, &loop) != napi_ok) return throw_failure(env, {ENOSYS, "napi_get_uv_event_loop"});
  FlowTrail trail(served.data(), tell_from.data(), room);
  auto timer = std::make_shared<FlowTimer>(env, std::move(trail), delay_ms, info[1].As<Napi::Function>(), info[0].As<Napi::Object>());
  if (const int error = timer->open(loop); error < 0) return throw_failure(env, {-error, "uv_timer_init"});
  auto* held = new std::shared_ptr<FlowTimer>(std::move(timer));
  return Napi::External<std::shared_ptr<FlowTimer>>::New(env, held, [](Napi::Env, std::shared_ptr<FlowTimer>* data) { delete data; });
}

Napi::Value take_records(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Options options(info, "takeFlowRecords");
  const auto timer = FlowTimer::in(info, options);
  if (!timer) return {};
  const auto records = timer->trail()->take();
  const Napi::Array list = Napi::Array::New(env, records.size());
  for (std::uint32_t index = 0; index < records.size(); ++index) {
    const FlowRecord& record = records[index];
    const Napi::Object each = Napi::Object::New(env);
    each.Set("flow", Napi::Number::New(env, record.flow));
    each.Set("tid", Napi::Number::New(env, record.tid));
    each.Set("thread", record.thread);
    each.Set("errno", Napi::Number::New(env, record.error));
    each.Set("microseconds", Napi::Number::New(env, static_cast<double>(record.microseconds)));
    list.Set(index, each);
  }
  return list;
}

}  // namespace

void register_flow_trail(Napi::Env env, Napi::Object exports) {
  exports.Set("openFlowTrail", Napi::Function::New(env, open_trail, "openFlowTrail"));
  exports.Set("takeFlowRecords", Napi::Function::New(env, take_records, "takeFlowRecords"));
}
