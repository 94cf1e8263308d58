// SPDX-License-Identifier: Apache-2.0
// Runs a call in every thread of this process, whatever the thread is doing.
//
// Capabilities, Landlock domains and filters without TSYNC belong to a thread, and only the thread itself can change its own. So each is
// interrupted by a signal whose handler makes the call: what the C library does for setuid(2), and libpsx for capset(2). The signal is the C library's own
// for that (33 in glibc, which no thread can block by pthread_sigmask); its handler is put back afterwards.
#pragma once

#include <sys/types.h>

#include "sys/result.h"

namespace ratchet {

/// What every thread does. Async-signal-safe; gives 0 or an errno.
using ThreadJob = int (*)(void* data);

/// Runs the job in all threads but `except` (0: all), one after the other, until a look at /proc finds none that has not run it. A thread that is made
/// meanwhile by one that has run it has inherited the result, and runs it again. After a failure some threads may have run it: the caller must end.
Outcome run_in_each_thread(ThreadJob job, void* data, pid_t except);

}  // namespace ratchet
