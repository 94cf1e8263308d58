// SPDX-License-Identifier: Apache-2.0
// The explicit door: requests on a seqpacket channel. What a flow answers is answered here; everything else is handed on as it came.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "sys/flow.h"
#include "sys/flow_trail.h"
#include "sys/messages.h"

namespace ratchet {

/// A connection on a new socket. The request's number is 8 bytes, big-endian, at `id_at`, and goes into the reply at `reply_id_at`.
struct RequestFlow {
  std::uint32_t number;
  FlowTarget target;
  int domain;
  int type;
  std::size_t id_at;
  std::vector<std::uint8_t> reply;
  std::size_t reply_id_at;
  bool used = true;
};

class RequestDoor {
 public:
  /// `last_id`: of the requests so far, the greatest number. `shut`: not 0 while flows must answer nothing here.
  RequestDoor(int fd, std::shared_ptr<FlowTrail> trail, std::uint64_t* last_id, const std::uint64_t* shut)
      : fd_(fd), trail_(std::move(trail)), last_id_(last_id), shut_(shut) {}

  /// From here on so many messages are received at most, whoever answers them: a flood of them leaves others their turn.
  void begin_turn() { turn_ = most_in_a_turn; }

  /// As receive_message, for the first message that no flow answers. NothingWaiting also means that the turn is over.
  Result<Reception> receive(std::size_t max_bytes, std::size_t max_fds);

  /// With the message that `receive` gave, when a flow had begun with it.
  std::optional<Begun> take_begun() { return std::exchange(begun_, {}); }

  /// `request` as it came. False when its number or the reply's is not within, or when there is such a flow: that one stays.
  bool add(std::span<const std::uint8_t> request, RequestFlow flow);
  void forget(std::uint32_t number);
  std::vector<std::uint32_t> take_used() { return ratchet::take_used(flows_); }

 private:
  static constexpr int most_in_a_turn = 32;

  bool serve(const Message& message, std::uint64_t started);
  RequestFlow* find(std::span<const std::uint8_t> request);

  int fd_;
  std::shared_ptr<FlowTrail> trail_;
  std::uint64_t* last_id_;
  const std::uint64_t* shut_;
  FlowTable<RequestFlow> flows_;
  std::string key_;
  int turn_ = 0;
  std::optional<Begun> begun_;
};

}  // namespace ratchet
