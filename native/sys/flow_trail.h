// SPDX-License-Identifier: Apache-2.0
// What flows did: counted in memory that outlives the process before it is answered, and, while who reads them wants to be told, as records that wait to be taken.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace ratchet {

struct FlowRecord {
  std::uint32_t flow;
  /// Of a system call: the thread that made it, and its name.
  pid_t tid;
  std::string thread;
  /// What the caller was answered.
  int error;
  std::uint64_t microseconds;
};

class FlowTrail {
 public:
  /// `served` counts up. `tell_from`: nanoseconds of CLOCK_MONOTONIC, before which a decision is only counted. At most `room` records wait.
  FlowTrail(std::uint64_t* served, const std::uint64_t* tell_from, std::size_t room) : served_(served), tell_from_(tell_from), room_(room) {
    records_.reserve(room);
  }

  bool tells(std::uint64_t now) const { return now >= *tell_from_; }
  bool is_full() const { return records_.size() >= room_; }
  bool is_empty() const { return records_.empty(); }
  void count() { ++*served_; }
  void uncount() { --*served_; }
  void tell(FlowRecord record) { records_.push_back(std::move(record)); }
  std::vector<FlowRecord> take() { return std::exchange(records_, {}); }

 private:
  std::uint64_t* served_;
  const std::uint64_t* tell_from_;
  std::size_t room_;
  std::vector<FlowRecord> records_;
};

/// Nanoseconds of CLOCK_MONOTONIC.
std::uint64_t monotonic_now();

}  // namespace ratchet
