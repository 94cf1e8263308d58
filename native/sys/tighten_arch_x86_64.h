// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <elf.h>
#include <linux/audit.h>
#include <sys/syscall.h>
#include <sys/user.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <span>

namespace ratchet::arch {

using Registers = user_regs_struct;
using Arguments = std::array<std::uint64_t, 6>;

inline constexpr std::uint32_t audit_arch = AUDIT_ARCH_X86_64;
inline constexpr std::array<std::uint8_t, 2> syscall_instruction{0x0f, 0x05};
/// An instruction may begin at any byte.
inline constexpr std::size_t instruction_alignment = 1;
inline constexpr int vector_note = NT_X86_XSTATE;

/// True in 64-bit user code with 64-bit registers: 0x33 is the kernel's __USER_CS.
inline bool native_code(const Registers& registers) { return registers.cs == 0x33; }

/// Any thread may be used: at the first event stop rax and orig_rax show what the kernel will do about a pending restart, and it
/// does it (arch_do_signal_or_restart) after the last event stop just as it would have after the first.
inline bool restart_can_be_kept(const Registers&, bool) { return true; }

inline std::uint64_t instruction_pointer(const Registers& registers) { return registers.rip; }

/// Makes the thread call `number` next. orig_rax = -1 tells the kernel that it is in no call that it should restart.
inline void aim(Registers& registers, std::uint64_t instruction, long number, const Arguments& arguments) {
  registers.rip = instruction;
  registers.rax = static_cast<std::uint64_t>(number);
  registers.orig_rax = ~0ULL;
  registers.rdi = arguments[0];
  registers.rsi = arguments[1];
  registers.rdx = arguments[2];
  registers.r10 = arguments[3];
  registers.r8 = arguments[4];
  registers.r9 = arguments[5];
}

/// See tighten_single_step.h.
inline constexpr bool steps_over_calls = true;

/// After aim() and a step: the call of this number was entered, and is over.
inline bool has_called(const Registers& registers, std::uint64_t instruction, long number) {
  return registers.orig_rax == static_cast<std::uint64_t>(number) && registers.rip == instruction + syscall_instruction.size();
}

inline std::int64_t result(const Registers& registers) { return static_cast<std::int64_t>(registers.rax); }

/// These calls answer any interruption with EINTR, even one that runs no handler (signal(7)), and have then done nothing. Setting
/// the thread back to just before the call hides the stop. A finite timeout begins anew. KVM_RUN is left alone: its callers expect EINTR.
inline bool rewind_unrestartable(Registers& registers) {
  constexpr std::array<std::uint64_t, 9> calls{SYS_epoll_wait,    SYS_epoll_pwait,  441 /* epoll_pwait2, Linux 5.11 */,
                                               SYS_rt_sigtimedwait, SYS_semop,      SYS_semtimedop,
                                               SYS_io_getevents,  SYS_io_pgetevents, SYS_io_uring_enter};
  if (registers.rax != static_cast<std::uint64_t>(-EINTR)) return false;
  if (std::find(calls.begin(), calls.end(), registers.orig_rax) == calls.end()) return false;
  registers.rax = registers.orig_rax;
  registers.orig_rax = ~0ULL;
  registers.rip -= syscall_instruction.size();
  return true;
}

/// Makes two images of the vector registers comparable: XSTATE_BV, at byte 512, tells which parts hold their initial values, and the
/// processor may find that out later without a change of any register (Intel SDM volume 1, 13.6).
inline void normalize_vector_state(std::span<std::uint8_t> state) {
  if (state.size() >= 520) std::fill_n(state.begin() + 512, 8, std::uint8_t{0});
}

}  // namespace ratchet::arch
