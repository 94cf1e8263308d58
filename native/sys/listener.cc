// SPDX-License-Identifier: Apache-2.0
#include "sys/listener.h"

#include <algorithm>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>

// Newer than the oldest headers we build with; from include/uapi/linux/seccomp.h, Linux 6.6.
#ifndef SECCOMP_IOCTL_NOTIF_SET_FLAGS
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS SECCOMP_IOW(4, __u64)
#endif
#ifndef SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP
#define SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP (1UL << 0)
#endif

namespace ratchet {

namespace {

int ioctl_retried(int fd, unsigned long request, void* argument) {
  int result;
  do {
    result = ::ioctl(fd, request, argument);
  } while (result < 0 && errno == EINTR);
  return result;
}

Result<bool> answer(int listener_fd, seccomp_notif_resp response) {
  if (ioctl_retried(listener_fd, SECCOMP_IOCTL_NOTIF_SEND, &response) == 0) return true;
  if (errno == ENOENT) return false;
  return last_failure("ioctl");
}

}  // namespace

Result<std::variant<seccomp_notif, CallerGone>> receive_notification(int listener_fd) {
  using Received = std::variant<seccomp_notif, CallerGone>;
  // RECV waits, whatever O_NONBLOCK says, until a notification was ever queued that no RECV has consumed. So it is called
  // only when one is pending: a call that vanishes after that leaves the count as it is, and RECV says ENOENT.
  pollfd waiting{listener_fd, POLLIN, 0};
  if (::poll(&waiting, 1, 0) < 0) return last_failure("poll");
  if ((waiting.revents & POLLIN) == 0) return Received(CallerGone{});
  seccomp_notif notification{};  // The kernel insists on zeros.
  if (ioctl_retried(listener_fd, SECCOMP_IOCTL_NOTIF_RECV, &notification) == 0) return Received(notification);
  if (errno == ENOENT) return Received(CallerGone{});
  return last_failure("ioctl");
}

Result<bool> answer_value(int listener_fd, std::uint64_t id, std::int64_t value) {
  seccomp_notif_resp response{};
  response.id = id;
  response.val = value;
  return answer(listener_fd, response);
}

Result<bool> answer_errno(int listener_fd, std::uint64_t id, int error) {
  seccomp_notif_resp response{};
  response.id = id;
  response.error = -error;
  return answer(listener_fd, response);
}

Result<bool> answer_continue(int listener_fd, std::uint64_t id) {
  seccomp_notif_resp response{};
  response.id = id;
  response.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
  return answer(listener_fd, response);
}

Result<bool> notification_valid(int listener_fd, std::uint64_t id) {
  if (ioctl_retried(listener_fd, SECCOMP_IOCTL_NOTIF_ID_VALID, &id) == 0) return true;
  if (errno == ENOENT) return false;
  return last_failure("ioctl");
}

Result<bool> answer_with_fd(int listener_fd, std::uint64_t id, int fd, bool close_on_exec) {
  seccomp_notif_addfd request{};
  request.id = id;
  request.flags = SECCOMP_ADDFD_FLAG_SEND;
  request.srcfd = static_cast<__u32>(fd);
  request.newfd_flags = close_on_exec ? O_CLOEXEC : 0;
  // ADDFD waits until the caller has taken the fd. Were we interrupted there, the call would already count as answered and
  // return 0, the number of another fd (seccomp_notify_addfd in the kernel): so no signal may interrupt.
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  const int number = ::ioctl(listener_fd, SECCOMP_IOCTL_NOTIF_ADDFD, &request);
  const int error = errno;
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (number >= 0) return true;
  // ENOENT: it was gone before. ESRCH: it died while we waited.
  if (error == ENOENT || error == ESRCH) return false;
  return Failure{error, "ioctl"};
}

Result<bool> set_sync_wake_up(int listener_fd) {
  // The flags are the ioctl's argument itself, not a pointer to them (seccomp_notify_set_flags in the kernel).
  if (::ioctl(listener_fd, SECCOMP_IOCTL_NOTIF_SET_FLAGS, SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP) == 0) return true;
  if (errno == EINVAL || errno == ENOTTY) return false;
  return last_failure("ioctl");
}

Result<std::uint64_t> answer_lost(int listener_fd, std::uint64_t first, std::uint64_t last, int error) {
  constexpr std::uint64_t most = 1U << 20;
  // Received, and its receiver died before it was noted.
  constexpr std::uint64_t unnoted = 64;
  const std::uint64_t span = std::min(last - first, most) + unnoted;
  std::uint64_t answered = 0;
  for (std::uint64_t back = 0; back <= span; ++back) {
    auto sent = answer_errno(listener_fd, last + unnoted - back, error);
    // EINPROGRESS: it waits to be received, as it should.
    if (!sent.ok() && sent.failure().error != EINPROGRESS) return sent.failure();
    if (sent.ok() && sent.value()) ++answered;
  }
  return answered;
}

}  // namespace ratchet
