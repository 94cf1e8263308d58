// SPDX-License-Identifier: Apache-2.0
// What a process holds that a filter of later does not see, in one look from outside: descriptors, mapped rings, children.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "sys/result.h"

namespace ratchet {

struct HeldDescriptor {
  /// Whose table it is in: the leader's, or that of a thread which has left it (unshare(2), CLONE_FILES).
  pid_t tid;
  int fd;
  /// As /proc shows it.
  std::string what;
  /// SO_DOMAIN and SO_TYPE of a socket in the leader's table; -1 for all else, and for one that was closed meanwhile.
  int domain = -1;
  int type = -1;
};

struct ThreadHoldings {
  pid_t tid;
  std::string name;
  long filters;
  std::vector<pid_t> children;
};

struct Holdings {
  std::vector<HeldDescriptor> descriptors;
  /// Without those that have ended.
  std::vector<ThreadHoldings> threads;
  /// An io_uring ring is mapped: it goes on without its descriptor.
  bool maps_ring = false;
};

/// `descriptors`: those and mapped rings are looked at. ESRCH when the process has ended. What ends during the look is left out.
Result<Holdings> look_at_holdings(pid_t pid, int pidfd, bool descriptors);

}  // namespace ratchet
