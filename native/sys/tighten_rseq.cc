// SPDX-License-Identifier: Apache-2.0
#include "sys/tighten_rseq.h"

#include <sys/ptrace.h>

#include <array>
#include <cstddef>
#include <cstring>

namespace ratchet {

namespace {

/// struct ptrace_rseq_configuration and its request, Linux 5.13 (include/uapi/linux/ptrace.h).
struct RseqConfiguration {
  std::uint64_t area;
  std::uint32_t size;
  std::uint32_t signature;
  std::uint32_t flags;
  std::uint32_t padding;
};
constexpr int get_rseq_configuration = 0x420f;
/// offsetof(struct rseq, rseq_cs)
constexpr std::uint64_t section_offset = 8;

/// 0 when there is none, or the kernel cannot tell.
std::uint64_t section_address(Tracee& tracee) {
  RseqConfiguration configuration{};
  const auto request = static_cast<__ptrace_request>(get_rseq_configuration);
  if (::ptrace(request, tracee.tid(), reinterpret_cast<void*>(sizeof configuration), &configuration) < 0) return 0;
  return configuration.area == 0 ? 0 : configuration.area + section_offset;
}

}  // namespace

std::uint64_t rseq_section(Tracee& tracee) {
  const std::uint64_t address = section_address(tracee);
  std::array<std::uint8_t, 8> bytes{};
  if (address == 0 || tracee.read_memory(address, bytes)) return 0;
  std::uint64_t section;
  std::memcpy(&section, bytes.data(), sizeof section);
  return section;
}

Outcome restore_rseq_section(Tracee& tracee, std::uint64_t section) {
  if (section == 0) return {};
  std::array<std::uint8_t, 8> bytes{};
  std::memcpy(bytes.data(), &section, sizeof section);
  return tracee.write_memory(section_address(tracee), bytes);
}

}  // namespace ratchet
