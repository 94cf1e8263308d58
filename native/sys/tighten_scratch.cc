// SPDX-License-Identifier: Apache-2.0
#include "sys/tighten_scratch.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/mman.h>

#include <cstring>

namespace ratchet {

namespace {

constexpr std::uint64_t page = 4096;

/// struct sock_fprog as a 64-bit process has it; the program follows it.
struct ProgramHeader {
  std::uint16_t length;
  std::uint16_t padding[3];
  std::uint64_t address;
};
static_assert(sizeof(ProgramHeader) == 16);

}  // namespace

Scratch::Scratch(std::span<const std::span<const std::uint8_t>> programs) : programs_(programs), offsets_{0} {
  // A program is a multiple of 8 bytes, so every header is aligned.
  for (const auto& program : programs) offsets_.push_back(offsets_.back() + sizeof(ProgramHeader) + program.size());
}

arch::Arguments Scratch::map_arguments() const {
  const std::uint64_t length = (offsets_.back() + page - 1) / page * page;
  return {0, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, ~0ULL, 0};
}

arch::Arguments Scratch::unmap_arguments(std::uint64_t address) const { return {address, map_arguments()[1], 0, 0, 0, 0}; }

arch::Arguments Scratch::install_arguments(std::size_t program, std::uint64_t flags, std::uint64_t address) const {
  return {SECCOMP_SET_MODE_FILTER, flags, address + offsets_[program], 0, 0, 0};
}

std::vector<std::uint8_t> Scratch::content(std::uint64_t address) const {
  std::vector<std::uint8_t> bytes(offsets_.back());
  for (std::size_t index = 0; index < programs_.size(); index++) {
    const auto& program = programs_[index];
    const std::size_t start = offsets_[index] + sizeof(ProgramHeader);
    const ProgramHeader header{static_cast<std::uint16_t>(program.size() / sizeof(sock_filter)), {}, address + start};
    std::memcpy(bytes.data() + offsets_[index], &header, sizeof header);
    std::memcpy(bytes.data() + start, program.data(), program.size());
  }
  return bytes;
}

}  // namespace ratchet
