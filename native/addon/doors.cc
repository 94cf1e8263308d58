// SPDX-License-Identifier: Apache-2.0
// The doors and their flows for JavaScript. A door is an opaque value; watchFd lets it serve before its callback is called.
#include "addon/door.h"

#include <optional>

#include "addon/bindings.h"
#include "addon/errors.h"
#include "addon/flow_timer.h"
#include "addon/options.h"
#include "sys/call_door.h"
#include "sys/request_door.h"

namespace ratchet {

template <typename Opened>
struct DoorHandle final : Door {
  DoorHandle(typename Opened::Options options, std::shared_ptr<FlowTimer> timer, const Napi::Object& cells)
      : door(std::move(options)), timer(std::move(timer)), cells(Napi::Persistent(cells)) {}

  void begin_turn() override { door.begin_turn(); }

  bool serve_ready() override {
    if (!waiting) waiting = door.receive();
    timer->start_if_due();
    if (waiting->ok() && std::holds_alternative<typename Opened::Nothing>(waiting->value())) waiting.reset();
    return waiting.has_value();
  }

  void forget(std::uint32_t flow) override { door.forget(flow); }
  std::vector<std::uint32_t> take_used() override { return door.take_used(); }
  const void* kind() const override { return &kind_tag; }

  /// Its address is the kind: no types are known at run time here.
  static constexpr char kind_tag = 0;

  Opened door;
  std::shared_ptr<FlowTimer> timer;
  /// Holds the memory that the door counts in.
  Napi::ObjectReference cells;
  std::optional<decltype(door.receive())> waiting;
};

using RequestDoorHandle = DoorHandle<RequestDoor>;
using CallDoorHandle = DoorHandle<CallDoor>;

std::shared_ptr<Door> door_of(const Napi::Value& value) {
  if (!value.IsExternal()) return {};
  return *value.As<Napi::External<std::shared_ptr<Door>>>().Data();
}

}  // namespace ratchet

using namespace ratchet;

namespace {

constexpr std::int64_t largest_message = 1 << 24;

Napi::Value handle_of(Napi::Env env, std::shared_ptr<Door> door) {
  auto* held = new std::shared_ptr<Door>(std::move(door));
  return Napi::External<std::shared_ptr<Door>>::New(env, held, [](Napi::Env, std::shared_ptr<Door>* data) { delete data; });
}

/// The door in the option `door`; null and a pending error when it is none.
Door* door_in(const Napi::CallbackInfo& info, Options& options) {
  if (!options.ok()) return nullptr;
  const auto door = door_of(info[0].As<Napi::Object>().Get("door"));
  if (!door) options.refuse("door", "a door");
  return door.get();
}

/// The same for a door of one kind.
template <typename Handle>
Handle* handle_in(const Napi::CallbackInfo& info, Options& options) {
  Door* const door = door_in(info, options);
  if (door != nullptr && door->kind() == &Handle::kind_tag) return static_cast<Handle*>(door);
  if (door != nullptr) options.refuse("door", "a door of this kind");
  return nullptr;
}

Napi::Object begun_object(Napi::Env env, Begun begun) {
  const Napi::Object result = Napi::Object::New(env);
  result.Set("flow", Napi::Number::New(env, begun.flow));
  result.Set("errno", Napi::Number::New(env, begun.error));
  result.Set("fd", Napi::Number::New(env, begun.socket.release()));
  return result;
}

/// What the flow connects to: `address`, and for a path its pin, which passes to the flow.
std::optional<FlowTarget> target_of(Napi::Env env, Options& options, AddressBytes address) {
  const auto pin = static_cast<int>(options.integer("pinFd", -1, std::numeric_limits<int>::max()));
  std::string path = options.text("path");
  if (!options.ok()) return {};
  if (pin < 0) return FlowTarget(address);
  auto target = FlowTarget::pinned(address, UniqueFd(pin), std::move(path));
  if (target.ok()) return std::move(target.value());
  throw_failure(env, target.failure());
  return {};
}

Napi::Value open_requests(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Options options(info, "openRequestDoor");
  const int fd = options.fd("fd");
  const auto max_bytes = static_cast<std::size_t>(options.integer("maxBytes", 1, largest_message));
  const auto last_id = options.words("lastId", 1);
  const auto shut = options.words("shut", 1);
  auto timer = FlowTimer::in(info, options);
  if (!options.ok()) return {};
  RequestDoor::Options door{fd, max_bytes, timer->trail(), last_id.data(), shut.data()};
  return handle_of(env, std::make_shared<RequestDoorHandle>(std::move(door), std::move(timer), info[0].As<Napi::Object>()));
}

Napi::Value receive_request(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Options options(info, "receiveRequest");
  auto* const handle = handle_in<RequestDoorHandle>(info, options);
  if (handle == nullptr) return {};
  if (!handle->serve_ready()) {
    const Napi::Object nothing = Napi::Object::New(env);
    nothing.Set("kind", "again");
    return nothing;
  }
  auto reception = *std::exchange(handle->waiting, {});
  const Napi::Value result = reception_object(env, reception);
  auto begun = handle->door.take_begun();
  if (begun && !env.IsExceptionPending()) result.As<Napi::Object>().Set("begun", begun_object(env, std::move(*begun)));
  return result;
}

Napi::Value add_request(const Napi::CallbackInfo& info) {
  Options options(info, "addRequestFlow");
  auto* const handle = handle_in<RequestDoorHandle>(info, options);
  if (handle == nullptr) return {};
  const auto number = static_cast<std::uint32_t>(options.integer("flow", 0, std::numeric_limits<std::uint32_t>::max()));
  const int domain = options.int32("domain");
  const int type = options.int32("type");
  const auto id_at = static_cast<std::size_t>(options.integer("idAt", 0, largest_message));
  const auto reply_id_at = static_cast<std::size_t>(options.integer("replyIdAt", 0, largest_message));
  const auto request = options.bytes("request");
  const auto reply = options.bytes("reply");
  const auto address = options.bytes("address");
  if (!options.ok()) return {};
  auto target = target_of(info.Env(), options, address);
  if (!target) return {};
  const bool added = handle->door.add(request, {number, std::move(*target), domain, type, id_at, {reply.begin(), reply.end()}, reply_id_at});
  return Napi::Boolean::New(info.Env(), added);
}

Napi::Value open_calls(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Options options(info, "openCallDoor");
  const int listener_fd = options.fd("listenerFd");
  const int nr = options.int32("nr");
  const auto audit_arch = static_cast<std::uint32_t>(options.integer("auditArch", 0, std::numeric_limits<std::uint32_t>::max()));
  const auto received = options.words("received", sizeof(ReceivedIds) / sizeof(std::uint64_t));
  auto timer = FlowTimer::in(info, options);
  if (!options.ok()) return {};
  auto* ids = reinterpret_cast<ReceivedIds*>(received.data());
  CallDoor::Options door{listener_fd, nr, audit_arch, timer->trail(), ids};
  return handle_of(env, std::make_shared<CallDoorHandle>(std::move(door), std::move(timer), info[0].As<Napi::Object>()));
}

Napi::Value receive_call(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Options options(info, "receiveCall");
  auto* const handle = handle_in<CallDoorHandle>(info, options);
  if (handle == nullptr) return {};
  if (!handle->serve_ready()) return env.Undefined();
  auto received = *std::exchange(handle->waiting, {});
  if (!received.ok()) return throw_failure(env, received.failure());
  const Napi::Object result = notification_object(env, *std::get_if<seccomp_notif>(&received.value()));
  if (auto begun = handle->door.take_begun()) result.Set("begun", begun_object(env, std::move(*begun)));
  return result;
}

Napi::Value add_call(const Napi::CallbackInfo& info) {
  Options options(info, "addCallFlow");
  auto* const handle = handle_in<CallDoorHandle>(info, options);
  if (handle == nullptr) return {};
  const auto number = static_cast<std::uint32_t>(options.integer("flow", 0, std::numeric_limits<std::uint32_t>::max()));
  const SocketKind kind{options.int32("domain"), options.int32("type"), options.int32("protocol")};
  const auto asked = options.bytes("asked");
  const auto address = options.bytes("address");
  if (!options.ok()) return {};
  auto target = target_of(info.Env(), options, address);
  if (!target) return {};
  return Napi::Boolean::New(info.Env(), handle->door.add(kind, asked, {number, std::move(*target)}));
}

Napi::Value forget(const Napi::CallbackInfo& info) {
  Options options(info, "forgetFlow");
  Door* const door = door_in(info, options);
  const auto number = static_cast<std::uint32_t>(options.integer("flow", 0, std::numeric_limits<std::uint32_t>::max()));
  if (!options.ok()) return {};
  door->forget(number);
  return info.Env().Undefined();
}

Napi::Value used_flows(const Napi::CallbackInfo& info) {
  Options options(info, "takeUsedFlows");
  Door* const door = door_in(info, options);
  if (door == nullptr) return {};
  const Napi::Array numbers = Napi::Array::New(info.Env());
  for (const std::uint32_t number : door->take_used()) numbers.Set(numbers.Length(), Napi::Number::New(info.Env(), number));
  return numbers;
}

}  // namespace

void register_doors(Napi::Env env, Napi::Object exports) {
  exports.Set("openRequestDoor", Napi::Function::New(env, open_requests, "openRequestDoor"));
  exports.Set("receiveRequest", Napi::Function::New(env, receive_request, "receiveRequest"));
  exports.Set("addRequestFlow", Napi::Function::New(env, add_request, "addRequestFlow"));
  exports.Set("openCallDoor", Napi::Function::New(env, open_calls, "openCallDoor"));
  exports.Set("receiveCall", Napi::Function::New(env, receive_call, "receiveCall"));
  exports.Set("addCallFlow", Napi::Function::New(env, add_call, "addCallFlow"));
  exports.Set("takeUsedFlows", Napi::Function::New(env, used_flows, "takeUsedFlows"));
  exports.Set("forgetFlow", Napi::Function::New(env, forget, "forgetFlow"));
}
