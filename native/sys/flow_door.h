// SPDX-License-Identifier: Apache-2.0
// What both doors have: their flows, what one of these has begun, and a turn.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "sys/flow.h"

namespace ratchet {

template <typename Flow>
class FlowDoor {
 public:
  /// From here on so many are received at most, whoever answers them: a flood leaves others their turn.
  void begin_turn() { turn_ = most_in_a_turn; }

  /// With what was received last, when a flow had begun with it.
  std::optional<Begun> take_begun() { return std::exchange(begun_, {}); }

  void forget(std::uint32_t number) {
    std::erase_if(flows_, [number](const auto& entry) { return entry.second.number == number; });
  }

  /// The numbers of those that were used since this was last asked; new ones count as used.
  std::vector<std::uint32_t> take_used() {
    std::vector<std::uint32_t> used;
    for (auto& [key, flow] : flows_)
      if (std::exchange(flow.used, false)) used.push_back(flow.number);
    return used;
  }

 protected:
  /// True as often as the turn permits.
  bool take_turn() {
    if (turn_ == 0) return false;
    --turn_;
    return true;
  }

  std::map<std::string, Flow, std::less<>> flows_;
  /// Of what was received last; its memory is used again.
  std::string key_;
  std::optional<Begun> begun_;

 private:
  static constexpr int most_in_a_turn = 32;
  int turn_ = 0;
};

}  // namespace ratchet
