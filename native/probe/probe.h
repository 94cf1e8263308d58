// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <errno.h>

/// What one probe found out. `error` 0: it works here; otherwise the errno of the step that failed. `detail` is plain ASCII
/// without quotes and backslashes, and may be empty.
struct Finding {
  int error;
  char detail[160];
};

/// Runs in a process of its own, which may end under filters, in namespaces or in a Landlock domain.
using Probe = Finding (*)();

Finding works();
/// With the errno of the call that has just failed, and which it was.
Finding failed(const char* call);
Finding failed_with(int error, const char* detail);
[[gnu::format(printf, 1, 2)]] Finding works_with(const char* format, ...);

// filters.cc
Finding probe_filter();
Finding probe_actions();
Finding probe_tsync();
Finding probe_filter_count();
Finding probe_own_filters();

// listener.cc
Finding probe_listener();
Finding probe_wait_killable();
Finding probe_wait_killable_race();
Finding probe_sync_wake_up();
Finding probe_addfd();

// processes.cc
Finding probe_pidfd_getfd();
Finding probe_pidfd_thread();
Finding probe_read_memory();
Finding probe_ptrace();
Finding probe_read_back();
Finding probe_yama();
Finding probe_open_files();

// namespaces.cc
Finding probe_user_namespaces();
Finding probe_pid_namespaces();
Finding probe_own_root();
Finding probe_cgroup();

// kernel.cc
Finding probe_close_range();
Finding probe_signal_scope();
Finding probe_landlock();
Finding probe_io_uring();
Finding probe_userfaultfd();
Finding probe_kvm();
Finding probe_tun();
Finding probe_audit();
Finding probe_kernel_log();
