// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstdint>

#include "sys/result.h"
#include "sys/tighten_process.h"

namespace ratchet {

/// The address of a syscall instruction in executable memory of the process: in the vDSO, else in whatever is mapped executable. Read
/// through `tid`, any living thread, without stopping it. ENOENT when there is none.
Result<std::uint64_t> find_syscall_instruction(const Process& process, pid_t tid);

}  // namespace ratchet
