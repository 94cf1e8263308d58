// SPDX-License-Identifier: Apache-2.0
// One thread installs a filter with a listener, on itself only, and makes the call; the first thread supervises it.
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include <atomic>

#include "filters.h"
#include "probe.h"

// Newer than the oldest headers we build with; from include/uapi/linux/seccomp.h, Linux 5.19 and 6.6.
#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif
#ifndef SECCOMP_IOCTL_NOTIF_SET_FLAGS
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS SECCOMP_IOW(4, __u64)
#endif

namespace {

constexpr int answer_value = 4242;

/// The thread that is supervised.
struct Caller {
  unsigned long flags;
  int rounds;
  std::atomic<int> listener_fd{0};
  int error = 0;
  std::atomic<pid_t> tid{0};
  std::atomic<bool> done{false};
  std::atomic<int> answered{0};
  long last = 0;
};

void* make_calls(void* argument) {
  Caller& caller = *static_cast<Caller*>(argument);
  caller.tid = gettid();
  const long fd = install(SECCOMP_FILTER_FLAG_NEW_LISTENER | caller.flags, SECCOMP_RET_USER_NOTIF);
  caller.error = errno;
  caller.listener_fd = static_cast<int>(fd);
  for (int round = 0; fd >= 0 && round < caller.rounds; ++round) {
    caller.last = syscall(probed_call, 0);
    if (caller.last == answer_value) ++caller.answered;
  }
  caller.done = true;
  return nullptr;
}

/// Starts the thread and waits until it has its filter. False when it could not install one; the errno is in the caller.
bool start(Caller& caller, pthread_t& thread) {
  forbid_new_privileges();
  if (pthread_create(&thread, nullptr, make_calls, &caller) != 0) {
    caller.error = EAGAIN;
    return false;
  }
  while (caller.listener_fd == 0) usleep(100);
  return caller.listener_fd > 0;
}

bool receive(const Caller& caller, seccomp_notif& notification) {
  notification = {};  // The kernel insists on zeros.
  return ioctl(caller.listener_fd, SECCOMP_IOCTL_NOTIF_RECV, &notification) == 0;
}

bool answer(const Caller& caller, const seccomp_notif& notification) {
  seccomp_notif_resp response{};
  response.id = notification.id;
  response.val = answer_value;
  return ioctl(caller.listener_fd, SECCOMP_IOCTL_NOTIF_SEND, &response) == 0;
}

void catch_and_ignore() {
  struct sigaction action {};
  action.sa_handler = [](int) {};  // Without SA_RESTART: an interrupted call returns EINTR.
  sigaction(SIGUSR1, &action, nullptr);
}

long milliseconds() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000 + now.tv_nsec / 1'000'000;
}

Finding not_installed(const Caller& caller) {
  return failed_with(caller.error, caller.error == EBUSY ? "somebody else supervises this process already" : "seccomp");
}

}  // namespace

Finding probe_listener() {
  Caller caller{0, 1};
  pthread_t thread;
  seccomp_notif notification;
  if (!start(caller, thread)) return not_installed(caller);
  if (!receive(caller, notification)) return failed("SECCOMP_IOCTL_NOTIF_RECV");
  if (!answer(caller, notification)) return failed("SECCOMP_IOCTL_NOTIF_SEND");
  pthread_join(thread, nullptr);
  return caller.answered == 1 ? works() : failed_with(EPROTO, "the answer did not arrive");
}

Finding probe_wait_killable() {
  catch_and_ignore();
  Caller caller{SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, 1};
  pthread_t thread;
  seccomp_notif notification;
  if (!start(caller, thread)) return not_installed(caller);
  if (!receive(caller, notification)) return failed("SECCOMP_IOCTL_NOTIF_RECV");
  // Without the flag a signal ends the wait, and the call with EINTR.
  if (tgkill(getpid(), caller.tid, SIGUSR1) < 0) return failed("tgkill");
  const long until = milliseconds() + 50;
  bool valid = true;
  while (valid && milliseconds() < until) valid = ioctl(caller.listener_fd, SECCOMP_IOCTL_NOTIF_ID_VALID, &notification.id) == 0;
  if (!valid || !answer(caller, notification)) return failed_with(EINTR, "a signal interrupted a received call");
  pthread_join(thread, nullptr);
  return caller.answered == 1 ? works() : failed_with(EINTR, "a signal interrupted a received call");
}

// Before it was repaired (Linux 6.18), a signal that met an answer made the caller return EINTR, or call again, although the answer had been taken.
Finding probe_wait_killable_race() {
  catch_and_ignore();
  constexpr int rounds = 20'000;
  Caller caller{SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, rounds};
  pthread_t thread;
  if (!start(caller, thread)) return not_installed(caller);
  pthread_t sender;
  const auto storm = [](void* argument) -> void* {
    const Caller& target = *static_cast<Caller*>(argument);
    while (!target.done) tgkill(getpid(), target.tid, SIGUSR1);
    return nullptr;
  };
  if (pthread_create(&sender, nullptr, storm, &caller) != 0) return failed_with(EAGAIN, "pthread_create");
  int sent = 0;
  const long until = milliseconds() + 500;
  while (!caller.done && milliseconds() < until) {
    pollfd waiting{caller.listener_fd, POLLIN, 0};
    seccomp_notif notification;
    if (poll(&waiting, 1, 10) == 1 && receive(caller, notification) && answer(caller, notification)) ++sent;
  }
  // Too slow a machine: what was seen counts. The thread may be waiting still, and ends with us.
  const int lost = sent - caller.answered - (caller.done ? 0 : 1);
  if (lost <= 0) return works_with("%d answers met by signals, none lost", sent);
  char text[80];
  snprintf(text, sizeof text, "%d of %d answers were lost to a signal", lost, sent);
  return failed_with(EINTR, text);
}

Finding probe_sync_wake_up() {
  Caller caller{0, 0};
  pthread_t thread;
  if (!start(caller, thread)) return not_installed(caller);
  if (ioctl(caller.listener_fd, SECCOMP_IOCTL_NOTIF_SET_FLAGS, 1UL) < 0) return failed("SECCOMP_IOCTL_NOTIF_SET_FLAGS");
  return works();
}

Finding probe_addfd() {
  Caller caller{0, 1};
  pthread_t thread;
  seccomp_notif notification;
  if (!start(caller, thread)) return not_installed(caller);
  if (!receive(caller, notification)) return failed("SECCOMP_IOCTL_NOTIF_RECV");
  seccomp_notif_addfd request{};
  request.id = notification.id;
  request.flags = SECCOMP_ADDFD_FLAG_SEND;
  request.srcfd = static_cast<__u32>(open("/", O_RDONLY | O_CLOEXEC));
  request.newfd_flags = O_CLOEXEC;
  if (ioctl(caller.listener_fd, SECCOMP_IOCTL_NOTIF_ADDFD, &request) < 0) return failed("SECCOMP_IOCTL_NOTIF_ADDFD");
  pthread_join(thread, nullptr);
  return fcntl(static_cast<int>(caller.last), F_GETFD) == FD_CLOEXEC ? works() : failed_with(EPROTO, "the fd did not arrive");
}
