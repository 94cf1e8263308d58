// SPDX-License-Identifier: Apache-2.0
// Tightening of a running process: another seccomp filter for all its threads, put there from outside by ptrace(2).
//
// Theory of operation. Two ways in, and one way to look:
//  - inject_filter(): one thread of the process is stopped and made to call seccomp(2) with TSYNC itself; the kernel then gives the
//    filter to all other threads, those being created included, without stopping them.
//  - inject_by_thread(): one thread after the other is stopped and made to call seccomp(2) for itself alone, while the others run. This is how
//    threads get filters that others have not, also right after one for all, and how the whole process gets one once its threads differ: TSYNC demands
//    that they do not.
//    In the same stop a thread can be made to enter a tighter Landlock domain before, which nobody can do for another either: who has the filter is in it.
//  - inspect_threads(): each thread is stopped for a moment and its filters are read from the kernel.
// A thread's registers, signal mask, pending restart and memory are put back, so that the program cannot tell.
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
#include <optional>
#include <span>
#include <string>
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

/// Programs for one thread, by their place in `InjectByThreadOptions::programs`, in the order of installation.
struct ThreadPrograms {
  pid_t tid;
  std::vector<std::size_t> programs;
};

struct InjectByThreadOptions {
  pid_t pid;
  int pidfd;
  std::vector<std::span<const std::uint8_t>> programs;
  std::vector<ThreadPrograms> threads;
  /// For each thread that `threads` does not name. Empty: those are let be, and go on running.
  std::vector<std::size_t> others;
  /// What every thread gets first, as by inject_filter(): then `others` is empty.
  std::optional<std::size_t> together;
  /// The descriptor, in the process, of a Landlock ruleset that each thread restricts itself by (landlock_restrict_self(2)) just before its programs. Only with `others`.
  std::optional<int> ruleset;
  std::chrono::milliseconds deadline;
  StepObserver observer = {};
};

struct InjectedByThread {
  /// Threads that have more filters now.
  std::vector<pid_t> tids;
  /// The longest that one thread stood still, from the request to stop it until it was let go.
  std::chrono::microseconds stopped;
};

/// Gives single threads filters of their own, after the one for all, if there is one. With `others`, no thread is left out, and nobody can make one that lacks them any more. A failure
/// after the first filter is dirty. Threads made later inherit what their maker has.
std::variant<InjectedByThread, NotInjected> inject_by_thread(const InjectByThreadOptions& options);

struct InspectOptions {
  pid_t pid;
  int pidfd;
  /// How long to wait for threads that wait for the seccomp supervisor themselves.
  std::chrono::milliseconds patience;
  std::chrono::milliseconds deadline;
};

/// stopped: it has passed through the kernel's door to user mode since the inspection began. waiting: for the seccomp supervisor, and was
/// not disturbed. kernel: a worker of the kernel's, which has no user mode. refused: we may not trace it.
enum class Visit { stopped, waiting, kernel, refused };

struct InspectedThread {
  pid_t tid = 0;
  Visit visit = Visit::refused;
  /// Places in `Inspection::programs`, oldest first; none where they could not be read.
  std::optional<std::vector<std::size_t>> programs = {};
  std::string name = {};
  int seccomp_mode = -1;
  long filters = -1;
  bool no_new_privs = false;
  /// All that it holds, in whichever of the inheritable, permitted, effective and ambient set.
  std::uint64_t capabilities = 0;
};

struct Inspection {
  std::vector<InspectedThread> threads;
  /// Each program that is installed on some thread, once.
  std::vector<std::vector<std::uint8_t>> programs;
  /// Why no programs were read: EACCES without CAP_SYS_ADMIN or under a filter of our own, EINVAL or EIO on kernels that cannot tell.
  int unreadable = 0;
  /// The longest that one thread stood still.
  std::chrono::microseconds longest_stop{0};
};

/// Stops and lets go each thread once, two at one time at most: a call that an older filter judged is then either done or restarted under
/// the present filters; and reads its filters meanwhile. ETIMEDOUT when a thread could not be stopped.
Result<Inspection> inspect_threads(const InspectOptions& options);

}  // namespace ratchet
