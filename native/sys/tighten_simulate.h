// SPDX-License-Identifier: Apache-2.0
// Runs a seccomp program on one call, as the kernel would: to foresee that the injected calls are refused before anything is changed.
#pragma once

#include <linux/filter.h>
#include <linux/seccomp.h>

#include <cstdint>
#include <span>

namespace ratchet {

/// SECCOMP_RET_*; SECCOMP_RET_KILL_PROCESS for a program that the kernel would not have accepted.
std::uint32_t simulate(std::span<const sock_filter> program, const seccomp_data& call);

/// True for the actions that let the call happen.
inline bool lets_happen(std::uint32_t verdict) {
  const std::uint32_t action = verdict & SECCOMP_RET_ACTION_FULL;
  return action == SECCOMP_RET_ALLOW || action == SECCOMP_RET_LOG;
}

}  // namespace ratchet
