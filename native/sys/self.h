// SPDX-License-Identifier: Apache-2.0
// What a process takes away from itself, in all its threads. None of it can be undone.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "sys/result.h"
#include "sys/unique_fd.h"

namespace ratchet {

/// The kernel's Landlock ABI; 0 when there is none or it is off.
int landlock_abi();

struct PathRight {
  std::string path;
  std::uint64_t access;
};

/// A Landlock ruleset: what of `handled` is permitted beneath the paths, nothing of it elsewhere. A path that is not there gives ENOENT.
Result<UniqueFd> make_ruleset(std::uint64_t handled, std::uint64_t scoped, std::span<const PathRight> rights);

/// no_new_privs and the ruleset, in this thread alone. Async-signal-safe; 0 or an errno.
int restrict_this_thread(int ruleset_fd);

/// The same in every thread but one (0: in all).
Outcome restrict_threads(int ruleset_fd, pid_t except);

/// Keeps these capabilities (bit n: capability n) in every thread where they are, in permitted and effective; empties the inheritable, ambient and bounding sets.
Outcome keep_capabilities(std::uint64_t capabilities);

/// One filter in all threads at once (TSYNC). A thread with a filter of its own is ESRCH, and then none has it.
Outcome filter_threads_together(std::span<const std::uint8_t> program);

using Programs = std::vector<std::vector<std::uint8_t>>;

/// Filters in this thread alone, in their order. Async-signal-safe; 0 or an errno.
int filter_this_thread(const Programs& programs);

/// The same in every thread but one, each by itself: for threads whose filters differ already.
Outcome filter_each_thread(const Programs& programs, pid_t except);

/// PR_SET_DUMPABLE 0: no core, and no other process of this user may look inside.
Outcome forbid_dumps();

/// setrlimit(2), soft and hard; a limit that is lower already stays.
Outcome set_own_limit(int resource, std::uint64_t value);

}  // namespace ratchet
