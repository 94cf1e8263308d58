// SPDX-License-Identifier: Apache-2.0
// Other processes, by pidfd: a recycled pid is never touched.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <span>

#include "sys/result.h"
#include "sys/unique_fd.h"

namespace ratchet {

/// pidfd_open(2). `thread` asks for a pidfd of one thread (PIDFD_THREAD, Linux 6.9), not of its process.
Result<UniqueFd> open_pidfd(pid_t pid, bool thread);

/// pidfd_getfd(2): a duplicate of the other process's fd, close-on-exec.
Result<UniqueFd> fd_of_process(int pidfd, int fd);

Outcome send_signal(int pidfd, int signal);

/// How a child ended: its code, or the signal that ended it; the other is -1. Both are when it lives.
struct Ending {
  int code = -1;
  int signal = -1;
};

/// waitid(2) by pidfd, without waiting. The child is reaped.
Result<Ending> reap(int pidfd);

/// prlimit(2), soft and hard. By number, since there is no other way: the pidfd says that it is still the same process, and as our child it stays that until it is reaped.
Outcome limit_child(pid_t child, int pidfd, int resource, std::uint64_t value);

/// process_vm_readv(2), all of `destination` or EFAULT.
Outcome read_memory(pid_t tid, std::uint64_t address, std::span<std::uint8_t> destination);

/// Whether two threads share one table of descriptors, which is for sure (kcmp(2)); false when they do not, or the kernel does not tell.
bool share_files(pid_t one, pid_t other);

/// The signal that this process gets when the thread that made it ends; 0 for none.
Outcome set_parent_death_signal(int signal);

}  // namespace ratchet
