// SPDX-License-Identifier: Apache-2.0
#include "sys/tighten_foresee.h"

#include <sys/syscall.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "sys/tighten_simulate.h"

namespace ratchet {

namespace {

std::vector<sock_filter> decoded(std::span<const std::uint8_t> bytes) {
  std::vector<sock_filter> program(bytes.size() / sizeof(sock_filter));
  std::memcpy(program.data(), bytes.data(), program.size() * sizeof(sock_filter));
  return program;
}

}  // namespace

std::optional<StepFailure> foresee_refusal(std::span<const std::vector<sock_filter>> installed, const Intended& intended) {
  std::vector<std::vector<sock_filter>> added;
  const auto allows = [&intended](const std::vector<sock_filter>& filter, long number, const arch::Arguments& arguments) {
    seccomp_data call{};
    call.nr = static_cast<int>(number);
    call.arch = arch::audit_arch;
    call.instruction_pointer = intended.instruction + arch::syscall_instruction.size();
    std::copy(arguments.begin(), arguments.end(), call.args);
    return lets_happen(simulate(filter, call));
  };
  const auto all_allow = [&allows](std::span<const std::vector<sock_filter>> filters, long number, const arch::Arguments& arguments) {
    return std::all_of(filters.begin(), filters.end(), [&](const auto& filter) { return allows(filter, number, arguments); });
  };
  if (intended.map && !all_allow(installed, SYS_mmap, *intended.map)) return StepFailure{"mmap", EPERM};
  if (intended.unmap && !all_allow(installed, SYS_munmap, *intended.unmap)) return StepFailure{"munmap", EPERM};
  if (intended.restrict_self && !all_allow(installed, SYS_landlock_restrict_self, *intended.restrict_self)) return StepFailure{"landlock", EPERM};
  for (const auto& [arguments, program] : intended.installs) {
    if (arguments && (!all_allow(installed, SYS_seccomp, *arguments) || !all_allow(added, SYS_seccomp, *arguments)))
      return StepFailure{"seccomp", EPERM};
    added.push_back(decoded(program));
  }
  if (intended.unmap && !all_allow(added, SYS_munmap, *intended.unmap)) return StepFailure{"program", EINVAL};
  return {};
}

}  // namespace ratchet
