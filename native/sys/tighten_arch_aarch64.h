// SPDX-License-Identifier: Apache-2.0
// Written from the kernel's arch/arm64/kernel/{signal,ptrace}.c. It compiles (Debian's g++-aarch64-linux-gnu), and has not run on such a
// machine yet.
#pragma once

#include <elf.h>
#include <linux/audit.h>
#include <sys/syscall.h>
#include <sys/user.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <span>

namespace ratchet::arch {

using Registers = user_regs_struct;
using Arguments = std::array<std::uint64_t, 6>;

inline constexpr std::uint32_t audit_arch = AUDIT_ARCH_AARCH64;
/// svc #0
inline constexpr std::array<std::uint8_t, 4> syscall_instruction{0x01, 0x00, 0x00, 0xd4};
inline constexpr std::size_t instruction_alignment = 4;
inline constexpr int vector_note = NT_PRFPREG;

/// PSR_MODE32_BIT is clear. (A 32-bit task is also told by the size of its register set.)
inline bool native_code(const Registers& registers) { return (registers.pstate & 0x10) == 0; }

/// do_signal() has already set pc back to the svc and x0 to its first value when the debugger looks, and notes in a local variable whether
/// restart_syscall(2) must be called in place of the same call. That note does not survive an injected call, so a relative sleep would
/// begin anew: a thread in such a call is not used for the injection. (Quiescing does not touch registers and may stop any thread.)
inline bool restart_can_be_kept(const Registers& registers, bool at_syscall_instruction) {
  if (!at_syscall_instruction) return true;
  const std::uint64_t number = registers.regs[8];
  if (number == SYS_nanosleep || number == SYS_clock_nanosleep || number == SYS_restart_syscall) return false;
  return number != SYS_futex || registers.regs[3] == 0;
}

inline std::uint64_t instruction_pointer(const Registers& registers) { return registers.pc; }

/// svc takes the number from x8, so NT_ARM_SYSTEM_CALL need not be set: the kernel has forgotten the interrupted call at an event
/// stop (forget_syscall), and at a syscall exit its number no longer matters.
inline void aim(Registers& registers, std::uint64_t instruction, long number, const Arguments& arguments) {
  registers.pc = instruction;
  registers.regs[8] = static_cast<std::uint64_t>(number);
  for (std::size_t index = 0; index < arguments.size(); index++) registers.regs[index] = arguments[index];
}

/// Nothing in the registers would tell that the call was entered: so it is stopped at its entry and at its exit.
inline constexpr bool steps_over_calls = false;
inline bool has_called(const Registers&, std::uint64_t, long) { return false; }
inline std::int64_t result(const Registers& registers) { return static_cast<std::int64_t>(registers.regs[0]); }

/// The first argument is no longer to be had once x0 holds -EINTR: such a call ends with EINTR, as after SIGSTOP and SIGCONT.
inline bool rewind_unrestartable(Registers&) { return false; }

inline void normalize_vector_state(std::span<std::uint8_t>) {}

}  // namespace ratchet::arch
