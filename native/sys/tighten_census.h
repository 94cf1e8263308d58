// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <vector>

#include "sys/tighten.h"
#include "sys/tighten_process.h"

namespace ratchet {

/// Before a filter for all by TSYNC: all threads that live, the leader first. Refused when one is traced, or has not as many filters as the others: the
/// kernel would give all of them what the one has that carries the call.
std::optional<NotInjected> take_census(const Process& process, pid_t pid, std::vector<pid_t>& living);

}  // namespace ratchet
