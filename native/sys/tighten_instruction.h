// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cerrno>
#include <cstdint>

#include "sys/result.h"
#include "sys/tighten_process.h"

namespace ratchet {

/// The address of a syscall instruction in executable memory of the process: in the vDSO, else in whatever is mapped executable. Read
/// through `tid`, any living thread, without stopping it. ENOENT when there is none.
Result<std::uint64_t> find_syscall_instruction(const Process& process, pid_t tid);

/// The step to name when it fails: who may not read the memory may not trace either, as the kernel asks the same of both (ptrace(2), "Ptrace
/// access mode checking").
inline const char* step_of_reading(int error) { return error == EACCES || error == EPERM ? "seize" : "instruction"; }

}  // namespace ratchet
