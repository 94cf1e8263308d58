// SPDX-License-Identifier: Apache-2.0
// One thread that opens, binds and removes files for all others.
//
// A Landlock domain denies its threads ptrace access to processes outside (ptrace_may_access), and with it pidfd_getfd(2) and process_vm_readv(2), which a
// supervisor of another process lives by. So the powers are kept apart: this thread is in a Landlock domain and may open, the others are in none, and their
// filter lets them open nothing. They share memory; so whoever takes over one may use both, but neither more than the two together: files beneath the roots.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "sys/result.h"

namespace ratchet {

/// Starts the thread, once, in the domain of the ruleset (-1: in none). Gives its tid.
Result<pid_t> start_file_thread(int ruleset_fd);

/// Adds filters in that thread alone.
Outcome filter_file_thread(const std::vector<std::vector<std::uint8_t>>& programs);

/// Does the work in that thread and waits for it; here when there is no such thread.
void by_file_thread(const std::function<void()>& work);

}  // namespace ratchet
