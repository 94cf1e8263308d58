// SPDX-License-Identifier: Apache-2.0
#include "sys/processes.h"

#include <fcntl.h>
#include <linux/kcmp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

namespace ratchet {

namespace {

/// include/uapi/linux/pidfd.h since Linux 6.9: the same bit as O_EXCL.
constexpr unsigned int pidfd_thread = O_EXCL;

}  // namespace

Result<UniqueFd> open_pidfd(pid_t pid, bool thread) {
  const long fd = ::syscall(SYS_pidfd_open, pid, thread ? pidfd_thread : 0U);
  if (fd < 0) return last_failure("pidfd_open");
  return UniqueFd(static_cast<int>(fd));
}

Result<UniqueFd> fd_of_process(int pidfd, int fd) {
  const long copy = ::syscall(SYS_pidfd_getfd, pidfd, fd, 0U);
  if (copy < 0) return last_failure("pidfd_getfd");
  return UniqueFd(static_cast<int>(copy));
}

Outcome send_signal(int pidfd, int signal) {
  if (::syscall(SYS_pidfd_send_signal, pidfd, signal, nullptr, 0U) < 0) return last_failure("pidfd_send_signal");
  return {};
}

Result<Ending> reap(int pidfd) {
  siginfo_t ended{};
  if (::waitid(P_PIDFD, static_cast<id_t>(pidfd), &ended, WEXITED | WNOHANG) < 0) return last_failure("waitid");
  if (ended.si_pid == 0) return Ending{};
  return ended.si_code == CLD_EXITED ? Ending{ended.si_status, -1} : Ending{-1, ended.si_status};
}

Outcome limit_child(pid_t child, int pidfd, int resource, std::uint64_t value) {
  if (const Outcome gone = send_signal(pidfd, 0)) return gone;
  const rlimit limit{value, value};
  if (::prlimit(child, static_cast<__rlimit_resource>(resource), &limit, nullptr) < 0) return last_failure("prlimit");
  return {};
}

Outcome read_memory(pid_t tid, std::uint64_t address, std::span<std::uint8_t> destination) {
  iovec local{destination.data(), destination.size()};
  iovec remote{reinterpret_cast<void*>(address), destination.size()};  // Never dereferenced here: it is the other process's.
  const ssize_t count = ::process_vm_readv(tid, &local, 1, &remote, 1, 0);
  if (count < 0) return last_failure("process_vm_readv");
  // A short read means that the rest is not mapped there (process_vm_readv(2)).
  if (static_cast<std::size_t>(count) != destination.size()) return Failure{EFAULT, "process_vm_readv"};
  return {};
}

bool share_files(pid_t one, pid_t other) { return ::syscall(SYS_kcmp, one, other, KCMP_FILES, 0UL, 0UL) == 0; }

Outcome set_parent_death_signal(int signal) {
  if (::prctl(PR_SET_PDEATHSIG, static_cast<unsigned long>(signal), 0UL, 0UL, 0UL) < 0) return last_failure("prctl");
  return {};
}

}  // namespace ratchet
