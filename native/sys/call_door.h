// SPDX-License-Identifier: Apache-2.0
// The transparent door: connect(2) of a supervised process. What a flow answers is answered here, on a copy of the caller's socket; every other call is handed
// on as it came.
#pragma once

#include <memory>
#include <optional>
#include <utility>
#include <variant>
#include <vector>

#include "sys/flow.h"
#include "sys/flow_trail.h"
#include "sys/listener.h"

namespace ratchet {

/// What the kernel says of a socket.
struct SocketKind {
  int domain;
  int type;
  int protocol;
};

struct CallFlow {
  std::uint32_t number;
  FlowTarget target;
  bool used = true;
};

/// The ids of the calls that were received, big-endian, in memory that outlives the process: written before anything is done.
struct ReceivedIds {
  std::uint32_t any;
  std::uint32_t unused;
  std::uint64_t first;
  std::uint64_t last;
};

class CallDoor {
 public:
  /// `nr` and `audit_arch`: the system call that flows answer.
  struct Options {
    int listener_fd;
    int nr;
    std::uint32_t audit_arch;
    std::shared_ptr<FlowTrail> trail;
    ReceivedIds* received;
  };
  explicit CallDoor(Options options) : options_(std::move(options)) {}

  /// From here on so many calls are received at most, whoever answers them: a flood of them leaves others their turn.
  void begin_turn() { turn_ = most_in_a_turn; }

  /// As receive_notification, for the first call that no flow answers. CallerGone also means that nobody waits, or that the turn is over.
  Result<std::variant<seccomp_notif, CallerGone>> receive();

  /// With the call that `receive` gave, when a flow had begun with it: the socket is our copy of the caller's.
  std::optional<Begun> take_begun() { return std::exchange(begun_, {}); }

  /// For connect(2) with exactly this address on a socket of this kind. False when there is such a flow: that one stays.
  bool add(const SocketKind& kind, AddressBytes address, CallFlow flow);
  void forget(std::uint32_t number);
  std::vector<std::uint32_t> take_used() { return ratchet::take_used(flows_); }

 private:
  static constexpr int most_in_a_turn = 32;

  bool serve(const seccomp_notif& call, std::uint64_t started);
  void note(std::uint64_t id);

  Options options_;
  FlowTable<CallFlow> flows_;
  std::string key_;
  int turn_ = 0;
  std::optional<Begun> begun_;
};

}  // namespace ratchet
