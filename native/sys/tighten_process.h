// SPDX-License-Identifier: Apache-2.0
// What /proc says of a process, read through one directory fd: it never shows a later process with the same pid.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "sys/result.h"
#include "sys/unique_fd.h"

namespace ratchet {

/// From /proc/PID/task/TID/status (proc(5)).
struct Task {
  pid_t tid = 0;
  std::string name;
  char state = '?';
  pid_t tracer = 0;
  /// The tid in the thread's own pid namespace, which is what seccomp(2) returns there.
  pid_t inner_tid = 0;
  int seccomp_mode = -1;
  /// -1 where the kernel does not tell (before Linux 5.9).
  long filters = -1;
  bool no_new_privs = false;
  /// In whichever of the inheritable, permitted, effective and ambient set.
  std::uint64_t capabilities = 0;
  /// Signals that wait, for the thread or for its process.
  std::uint64_t pending = 0;
  /// Those that are not blocked.
  std::uint64_t deliverable = 0;

  bool dead() const { return state == 'Z' || state == 'X'; }
};

/// See Process::ending() and Process::kernel_worker().
enum class ThreadKind { program, ending, kernel };

class Process {
 public:
  /// ESRCH unless `pidfd` refers to `pid` and at least one thread of it lives.
  static Result<Process> pin(pid_t pid, int pidfd);

  /// False once the last thread has ended.
  bool alive() const;
  /// The leader first.
  std::vector<pid_t> tasks() const;
  /// ESRCH when the thread is gone.
  Result<Task> task(pid_t tid) const;
  /// The id, as we see it, of the thread that has this one in its own pid namespace; the same number when there is none.
  pid_t outer_tid(pid_t inner) const;
  /// The process ignores this signal.
  bool ignores(int signal) const;
  /// A thread with this id is the process's now.
  bool has(pid_t tid) const;
  /// The kernel's own count of the process's threads, zombies included; -1 when it is gone.
  long thread_count() const;
  /// The thread is gone, has begun to end, or is a zombie: it runs no more program code.
  bool ending(pid_t tid) const { return kind(tid) == ThreadKind::ending; }
  /// A thread that the kernel made for itself in the process (io_uring and vhost workers): it has no user mode.
  bool kernel_worker(pid_t tid) const { return kind(tid) == ThreadKind::kernel; }
  /// Both at one look.
  ThreadKind kind(pid_t tid) const;
  /// The thread waits for the answer of a seccomp supervisor, and perhaps in a way that only a kill ends.
  bool waits_for_supervisor(pid_t tid) const;
  /// A file of the process, such as "maps"; empty when it cannot be read.
  std::string read(const std::string& path) const;
  /// The same, opened for reading.
  UniqueFd open(const std::string& path) const;

 private:
  Process(pid_t pid, int pidfd, UniqueFd directory) : pid_(pid), pidfd_(pidfd), directory_(std::move(directory)) {}

  std::uint64_t flags(pid_t tid) const;
  std::string read_record(const std::string& path) const;

  pid_t pid_;
  int pidfd_;
  UniqueFd directory_;
};

}  // namespace ratchet
