// SPDX-License-Identifier: Apache-2.0
// The explicit door: requests on a seqpacket channel. What a flow answers is answered here; everything else is handed on as it came.
#pragma once

#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "sys/flow_door.h"
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

class RequestDoor : public FlowDoor<RequestFlow> {
 public:
  /// `last_id`: of the requests so far, the greatest number. `shut`: not 0 while flows must answer nothing here.
  struct Options {
    int fd;
    std::size_t max_bytes;
    std::shared_ptr<FlowTrail> trail;
    std::uint64_t* last_id;
    const std::uint64_t* shut;
  };
  explicit RequestDoor(Options options) : options_(std::move(options)) {}

  using Nothing = NothingWaiting;
  /// As receive_message with one fd at most, for the first message that no flow answers. Nothing also means that the turn is over.
  Result<Reception> receive();

  /// `request` as it came. False when its number or the reply's is not within, or when there is such a flow: that one stays.
  bool add(std::span<const std::uint8_t> request, RequestFlow flow);

 private:
  bool serve(const Message& message, std::uint64_t started);
  RequestFlow* find(std::span<const std::uint8_t> request);

  Options options_;
};

}  // namespace ratchet
