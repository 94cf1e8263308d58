// SPDX-License-Identifier: Apache-2.0
#include "sys/tighten_instruction.h"

#include <elf.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <optional>
#include <string>

#include "sys/tighten_arch.h"

namespace ratchet {

namespace {

/// Reads up to `length` bytes at `address` and looks for the instruction. The bytes decide, whatever the mapping is called.
std::optional<std::uint64_t> search(int memory_fd, std::uint64_t address, std::size_t length) {
  constexpr auto& wanted = arch::syscall_instruction;
  std::string bytes(length, '\0');
  const ssize_t count = ::pread(memory_fd, bytes.data(), length, static_cast<off_t>(address));
  if (count <= 0) return {};
  bytes.resize(static_cast<std::size_t>(count));
  for (std::size_t at = 0; at + wanted.size() <= bytes.size(); at += arch::instruction_alignment)
    if (std::memcmp(bytes.data() + at, wanted.data(), wanted.size()) == 0) return address + at;
  return {};
}

std::uint64_t vdso_address(const std::string& auxv) {
  Elf64_auxv_t entry;
  for (std::size_t at = 0; at + sizeof entry <= auxv.size(); at += sizeof entry) {
    std::memcpy(&entry, auxv.data() + at, sizeof entry);
    if (entry.a_type == AT_SYSINFO_EHDR) return entry.a_un.a_val;
  }
  return 0;
}

}  // namespace

Result<std::uint64_t> find_syscall_instruction(const Process& process, pid_t tid) {
  const std::string folder = "task/" + std::to_string(tid) + "/";
  // /proc/PID/task/TID/mem stays with the address space that it was opened on.
  const UniqueFd memory = process.open(folder + "mem");
  if (!memory) return last_failure("open");
  constexpr std::size_t largest_vdso = 16384;
  constexpr std::size_t chunk = 1 << 20;
  const std::uint64_t vdso = vdso_address(process.read(folder + "auxv"));
  if (vdso != 0)
    if (const auto found = search(memory.get(), vdso, largest_vdso)) return *found;
  const std::string maps = process.read(folder + "maps");
  for (std::size_t at = 0; at < maps.size(); at = maps.find('\n', at) + 1) {
    std::uint64_t start = 0;
    std::uint64_t end = 0;
    char mode[5] = "";
    if (std::sscanf(maps.c_str() + at, "%" SCNx64 "-%" SCNx64 " %4s", &start, &end, mode) != 3) break;
    // Code that nobody writes to while we rely on it. The vsyscall page reads as x and cannot be read.
    if (mode[0] != 'r' || mode[1] == 'w' || mode[2] != 'x') continue;
    for (; start < end; start += chunk)
      if (const auto found = search(memory.get(), start, std::min<std::uint64_t>(chunk, end - start))) return *found;
  }
  return Failure{ENOENT, "read"};
}

}  // namespace ratchet
