// SPDX-License-Identifier: Apache-2.0
#include "sys/tighten_filters.h"

#include <sys/ptrace.h>

#include <cerrno>
#include <cstdint>
#include <memory>

namespace ratchet {

Result<std::vector<std::vector<sock_filter>>> installed_filters(pid_t tid) {
  std::vector<std::vector<sock_filter>> filters;
  // Not filled: a thread stands still while its pages would be made.
  const auto buffer = std::make_unique_for_overwrite<sock_filter[]>(longest_program);
  for (std::uintptr_t index = 0;; index++) {
    const long length = ::ptrace(PTRACE_SECCOMP_GET_FILTER, tid, reinterpret_cast<void*>(index), buffer.get());
    if (length < 0) {
      // ENOENT: there is no filter of this number. EINVAL at the first: the thread has none at all.
      if (errno == ENOENT || (errno == EINVAL && index == 0)) return filters;
      return last_failure("ptrace");
    }
    filters.emplace_back(buffer.get(), buffer.get() + length);
  }
}

}  // namespace ratchet
