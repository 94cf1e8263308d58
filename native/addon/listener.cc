// SPDX-License-Identifier: Apache-2.0
#include "sys/listener.h"

#include "addon/bindings.h"
#include "addon/door.h"
#include "addon/errors.h"
#include "addon/options.h"

using namespace ratchet;

namespace {

/// The kernel passes on errors up to MAX_ERRNO and cuts the rest off (include/linux/err.h).
constexpr std::int64_t max_errno = 4095;

Napi::Value boolean_or_throw(Napi::Env env, Result<bool> result) {
  if (!result.ok()) return throw_failure(env, result.failure());
  return Napi::Boolean::New(env, result.value());
}

Napi::Value receive(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Options options(info, "receiveNotification");
  const int listener_fd = options.fd("listenerFd");
  if (!options.ok()) return {};
  auto received = receive_notification(listener_fd);
  if (!received.ok()) return throw_failure(env, received.failure());
  const seccomp_notif* notification = std::get_if<seccomp_notif>(&received.value());
  if (notification == nullptr) return env.Undefined();
  return notification_object(env, *notification);
}

Napi::Value answer(const Napi::CallbackInfo& info) {
  Options options(info, "answerNotification");
  const int listener_fd = options.fd("listenerFd");
  const std::uint64_t id = options.unsigned64("id");
  Options choice = options.object("answer");
  const std::string kind = choice.text("kind");
  if (!choice.ok()) return {};
  if (kind == "value") {
    const std::int64_t value = choice.signed64("value");
    if (!choice.ok()) return {};
    return boolean_or_throw(info.Env(), answer_value(listener_fd, id, value));
  }
  if (kind == "errno") {
    const auto error = static_cast<int>(choice.integer("errno", 1, max_errno));
    if (!choice.ok()) return {};
    return boolean_or_throw(info.Env(), answer_errno(listener_fd, id, error));
  }
  if (kind == "continue") return boolean_or_throw(info.Env(), answer_continue(listener_fd, id));
  choice.refuse("kind", "'value', 'errno' or 'continue'");
  return {};
}

Napi::Value valid(const Napi::CallbackInfo& info) {
  Options options(info, "notificationValid");
  const int listener_fd = options.fd("listenerFd");
  const std::uint64_t id = options.unsigned64("id");
  if (!options.ok()) return {};
  return boolean_or_throw(info.Env(), notification_valid(listener_fd, id));
}

Napi::Value answer_fd(const Napi::CallbackInfo& info) {
  Options options(info, "answerWithFd");
  const int listener_fd = options.fd("listenerFd");
  const std::uint64_t id = options.unsigned64("id");
  const int fd = options.fd("fd");
  const bool close_on_exec = options.boolean("closeOnExec");
  if (!options.ok()) return {};
  return boolean_or_throw(info.Env(), answer_with_fd(listener_fd, id, fd, close_on_exec));
}

Napi::Value wake_up(const Napi::CallbackInfo& info) {
  Options options(info, "setSyncWakeUp");
  const int listener_fd = options.fd("listenerFd");
  if (!options.ok()) return {};
  return boolean_or_throw(info.Env(), set_sync_wake_up(listener_fd));
}

Napi::Value answer_all_lost(const Napi::CallbackInfo& info) {
  Options options(info, "answerLost");
  const int listener_fd = options.fd("listenerFd");
  const std::uint64_t first = options.unsigned64("first");
  const std::uint64_t last = options.unsigned64("last");
  const auto error = static_cast<int>(options.integer("errno", 1, 4095));
  if (!options.ok()) return {};
  auto answered = answer_lost(listener_fd, first, last, error);
  if (!answered.ok()) return throw_failure(info.Env(), answered.failure());
  return Napi::Number::New(info.Env(), static_cast<double>(answered.value()));
}

}  // namespace

Napi::Object ratchet::notification_object(Napi::Env env, const seccomp_notif& notification) {
  const Napi::Object result = Napi::Object::New(env);
  result.Set("id", Napi::BigInt::New(env, static_cast<std::uint64_t>(notification.id)));
  result.Set("tid", Napi::Number::New(env, notification.pid));
  result.Set("nr", Napi::Number::New(env, notification.data.nr));
  result.Set("auditArch", Napi::Number::New(env, notification.data.arch));
  result.Set("instructionPointer", Napi::BigInt::New(env, static_cast<std::uint64_t>(notification.data.instruction_pointer)));
  const Napi::Array args = Napi::Array::New(env, 6);
  for (std::uint32_t index = 0; index < 6; ++index) {
    args.Set(index, Napi::BigInt::New(env, static_cast<std::uint64_t>(notification.data.args[index])));
  }
  result.Set("args", args);
  return result;
}

void register_listener(Napi::Env env, Napi::Object exports) {
  exports.Set("receiveNotification", Napi::Function::New(env, receive, "receiveNotification"));
  exports.Set("answerNotification", Napi::Function::New(env, answer, "answerNotification"));
  exports.Set("notificationValid", Napi::Function::New(env, valid, "notificationValid"));
  exports.Set("answerWithFd", Napi::Function::New(env, answer_fd, "answerWithFd"));
  exports.Set("setSyncWakeUp", Napi::Function::New(env, wake_up, "setSyncWakeUp"));
  exports.Set("answerLost", Napi::Function::New(env, answer_all_lost, "answerLost"));
}
