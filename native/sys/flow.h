// SPDX-License-Identifier: Apache-2.0
// Flows: what was decided once, to be done again for exactly the same request, without asking anew (the exact-match cache of a switch). Who decides puts them in
// and takes them out; nothing here judges. A flow is found by its whole key, byte for byte.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "sys/result.h"
#include "sys/sockets.h"
#include "sys/unique_fd.h"

namespace ratchet {

/// Where a flow connects: the bytes for connect(2) and, when they name a pinned inode, the pin and the path at which it was found.
class FlowTarget {
 public:
  explicit FlowTarget(AddressBytes address) : address_(address.begin(), address.end()) {}

  /// `pin` is an O_PATH descriptor of what `path` named, without any link on the way.
  static Result<FlowTarget> pinned(AddressBytes address, UniqueFd pin, std::string path);

  /// Whether the path, followed now and without any link, still ends at the pinned inode. True for an address without a path.
  bool holds() const;

  AddressBytes address() const { return address_; }

 private:
  std::vector<std::uint8_t> address_;
  UniqueFd pin_;
  std::string path_;
  std::uint64_t device_ = 0;
  std::uint64_t inode_ = 0;
};

/// A connection that was begun and that the flow cannot end: it goes on where everything else is served. `error` is what connect(2) said, 0 when it was made.
struct Begun {
  UniqueFd socket;
  std::uint32_t flow;
  int error;
};

}  // namespace ratchet
