// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <linux/seccomp.h>
#include <sys/syscall.h>

/// The call that probes are made with: harmless, and made by nobody else here.
constexpr long probed_call = SYS_sched_get_priority_max;

/// seccomp(SET_MODE_FILTER) with a program that answers `probed_call` with `action` and allows the rest. As seccomp(2), -1 and errno on failure.
long install(unsigned long flags, unsigned int action);
/// no_new_privs, which an unprivileged process needs to install a filter.
void forbid_new_privileges();
/// The number in a "Name:" line of /proc/thread-self/status, -1 when there is none.
long own_status(const char* name);
