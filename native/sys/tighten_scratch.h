// SPDX-License-Identifier: Apache-2.0
// Memory of the process for the programs, as seccomp(2) takes them. It is a fresh mapping, made by an injected mmap(2) and removed by an
// injected munmap(2). Nothing that the program owns is borrowed: below a stack pointer there may be another thread's heap (alternate
// signal stacks, coroutines), and other threads may run on meanwhile. The price is two calls, and that every filter must allow
// anonymous mmap and munmap, as malloc needs anyway.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "sys/tighten_arch.h"

namespace ratchet {

class Scratch {
 public:
  explicit Scratch(std::span<const std::span<const std::uint8_t>> programs);

  arch::Arguments map_arguments() const;
  arch::Arguments unmap_arguments(std::uint64_t address) const;
  /// seccomp(SECCOMP_SET_MODE_FILTER, flags, program), once the mapping is at `address`.
  arch::Arguments install_arguments(std::size_t program, std::uint64_t flags, std::uint64_t address) const;
  /// What must stand in the mapping at `address`.
  std::vector<std::uint8_t> content(std::uint64_t address) const;

 private:
  std::span<const std::span<const std::uint8_t>> programs_;
  /// Where each program begins, its header before it; and the end of the last.
  std::vector<std::size_t> offsets_;
};

}  // namespace ratchet
