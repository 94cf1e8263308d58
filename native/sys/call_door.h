// SPDX-License-Identifier: Apache-2.0
// The transparent door: connect(2) of a supervised process. What a flow answers is answered here, on a copy of the caller's socket; every other call is handed
// on as it came.
#pragma once

#include <memory>
#include <utility>
#include <variant>

#include "sys/flow_door.h"
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

class CallDoor : public FlowDoor<CallFlow> {
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

  using Nothing = CallerGone;
  /// As receive_notification, for the first call that no flow answers. Nothing also means that nobody waits, or that the turn is over. The socket of what a flow
  /// has begun is our copy of the caller's.
  Result<std::variant<seccomp_notif, Nothing>> receive();

  /// For connect(2) with exactly this address on a socket of this kind. False when there is such a flow: that one stays.
  bool add(const SocketKind& kind, AddressBytes address, CallFlow flow);

 private:
  bool serve(const seccomp_notif& call, std::uint64_t started);
  void note(std::uint64_t id);

  Options options_;
};

}  // namespace ratchet
