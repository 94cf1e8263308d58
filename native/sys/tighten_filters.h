// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <linux/filter.h>
#include <sys/types.h>

#include <cstdint>
#include <span>
#include <vector>

#include "sys/result.h"

namespace ratchet {

/// The kernel's BPF_MAXINSNS.
inline constexpr std::size_t longest_program = 4096;

/// Whole instructions, and as many as the kernel takes.
inline bool is_program(std::span<const std::uint8_t> bytes) {
  return !bytes.empty() && bytes.size() % sizeof(sock_filter) == 0 && bytes.size() / sizeof(sock_filter) <= longest_program;
}

/// PTRACE_SECCOMP_GET_FILTER for each filter of a thread that we have stopped. Index 0 is the oldest: get_nth_filter() in
/// kernel/seccomp.c counts from the end of the chain.
Result<std::vector<std::vector<sock_filter>>> installed_filters(pid_t tid);

}  // namespace ratchet
