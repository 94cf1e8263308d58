// SPDX-License-Identifier: Apache-2.0
// Whether the calls that are going to be injected will be let through: a filter that answers one of them with a kill would take the process
// with it, and one that refuses munmap would leave our memory behind.
#pragma once

#include <linux/filter.h>

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "sys/tighten_arch.h"
#include "sys/tighten_step.h"

namespace ratchet {

/// What a thread is going to be asked, in this order: mmap, landlock_restrict_self(2), then one seccomp(2) a program, then munmap.
struct Intended {
  /// Of the syscall instruction.
  std::uint64_t instruction;
  /// Absent when another thread makes the mapping.
  std::optional<arch::Arguments> map;
  std::optional<arch::Arguments> unmap;
  struct Install {
    /// Absent: the thread gets it by another one's call (TSYNC).
    std::optional<arch::Arguments> arguments;
    std::span<const std::uint8_t> program;
  };
  std::vector<Install> installs;
  /// Absent: no ruleset.
  std::optional<arch::Arguments> restrict_self;
};

/// The first call that one of `installed`, or a program that was installed just before, does not let happen (EPERM); nothing when all
/// will happen. Step "program" (EINVAL) when it is one of the new ones that refuses the munmap.
std::optional<StepFailure> foresee_refusal(std::span<const std::vector<sock_filter>> installed, const Intended& intended);

/// An address for `Intended` as one could be: it is not known yet, and no sane filter judges it.
inline constexpr std::uint64_t somewhere = 0x7f0000000000;

}  // namespace ratchet
