// SPDX-License-Identifier: Apache-2.0
// Tightening of a running process: another seccomp filter for all its threads, put there from outside by ptrace(2).
//
// Theory of operation. One thread of the process is stopped and made to call seccomp(2) with TSYNC itself; the kernel then gives
// the filter to all other threads, those being created included, without stopping them. The thread's registers, signal mask, pending
// restart and memory are put back, so that the program cannot tell.
//
// A short-lived tracer thread of ours does each operation. When it ends, in whatever way, the kernel detaches everything that it
// traced: no thread is ever left stopped. From the first change to the last restored register PTRACE_O_EXITKILL is set: if the
// launcher dies there, or the engine has to give up there, the kernel kills the process. Before and after, it is just let go. So
// a process is untouched, tightened or dead, and never half done.
//
// mustn't: reap the process (the event loop waits for its children), touch a recycled pid, deliver or lose a signal, take longer
// than the deadline. needs: the right to ptrace the process, Linux 5.9 (Seccomp_filters in /proc).
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <span>
#include <variant>
#include <vector>

#include "sys/result.h"

namespace ratchet {

/// Told of each step before it is taken. Tests use it to make the worst happen at every step; the addon leaves it empty.
struct StepObserver {
  void (*function)(const char* step, pid_t tid, void* context) = nullptr;
  void* context = nullptr;

  void tell(const char* step, pid_t tid) const {
    if (function != nullptr) function(step, tid, context);
  }
};

struct InjectOptions {
  pid_t pid;
  /// Pins the process: nothing is done unless it refers to `pid` and the process lives.
  int pidfd;
  /// Consecutive struct sock_filter.
  std::span<const std::uint8_t> program;
  std::chrono::milliseconds deadline;
  StepObserver observer = {};
};

struct Injected {
  pid_t tid;
  /// From the request to stop the one thread until it was let go.
  std::chrono::microseconds stopped;
};

/// `dirty` false: the process is as it was before. True: it was killed, or its state is not known and it must be killed.
struct NotInjected {
  const char* step;
  int error;
  pid_t tid;
  bool dirty;
};

/// Gives every thread of the process one more filter. All threads must have the same filters so far: TSYNC would otherwise
/// spread one thread's own filter to the others, or fail.
std::variant<Injected, NotInjected> inject_filter(const InjectOptions& options);

struct QuiesceOptions {
  pid_t pid;
  int pidfd;
  std::chrono::milliseconds deadline;
};

/// Stops and lets go each thread once, one at a time: a call that an older filter judged is then either done or restarted under
/// the present filters. Returns the threads that were skipped since they wait for the seccomp supervisor. ETIMEDOUT when a thread
/// could not be stopped.
Result<std::vector<pid_t>> quiesce_threads(const QuiesceOptions& options);

/// The filters of one thread as they were installed, oldest first. EACCES without CAP_SYS_ADMIN or under a filter of our own.
Result<std::vector<std::vector<std::uint8_t>>> read_filters(pid_t tid, std::chrono::milliseconds deadline);

}  // namespace ratchet
