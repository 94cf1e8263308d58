// SPDX-License-Identifier: Apache-2.0
// The supervisor's end of seccomp user notification (seccomp_unotify(2)).
#pragma once

#include <linux/seccomp.h>

#include <cstdint>
#include <variant>

#include "sys/result.h"

namespace ratchet {

/// The call that raised the notification is gone: its thread was killed or interrupted.
struct CallerGone {};

Result<std::variant<seccomp_notif, CallerGone>> receive_notification(int listener_fd);

/// False when the caller is gone. At most one of `value` and `error` is not 0, and `error` is a positive errno.
Result<bool> answer_value(int listener_fd, std::uint64_t id, std::int64_t value);
Result<bool> answer_errno(int listener_fd, std::uint64_t id, int error);
/// Lets the kernel perform the call. Only for verdicts that rest on scalar arguments: memory can change meanwhile.
Result<bool> answer_continue(int listener_fd, std::uint64_t id);

Result<bool> notification_valid(int listener_fd, std::uint64_t id);

/// Installs a duplicate of `fd` in the caller and answers with its number there, in one step. False when the caller is gone.
Result<bool> answer_with_fd(int listener_fd, std::uint64_t id, int fd, bool close_on_exec);

/// SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP (Linux 6.6). False where the kernel has it not.
Result<bool> set_sync_wake_up(int listener_fd);

/// Answers with an errno whatever of the ids from `first` to `last`, and a few more, was received and waits still; the kernel numbers them in order. How many.
Result<std::uint64_t> answer_lost(int listener_fd, std::uint64_t first, std::uint64_t last, int error);

}  // namespace ratchet
