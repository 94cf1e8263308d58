// SPDX-License-Identifier: Apache-2.0
#include "sys/flow_trail.h"

#include <time.h>

namespace ratchet {

std::uint64_t monotonic_now() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000U + static_cast<std::uint64_t>(now.tv_nsec);
}

}  // namespace ratchet
