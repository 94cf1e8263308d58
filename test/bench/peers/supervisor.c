// SPDX-License-Identifier: Apache-2.0
// The least that a supervisor of connect can be: the listener is fd 3. Copies the address, takes the caller's socket, connects it, answers. No policy, and it waits in connect.
#include <err.h>
#include <errno.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef SECCOMP_IOCTL_NOTIF_SET_FLAGS
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS SECCOMP_IOW(4, __u64)
#define SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP 1UL
#endif

static int is_valid(__u64 id) { return ioctl(3, SECCOMP_IOCTL_NOTIF_ID_VALID, &id) == 0; }

static int serve(const struct seccomp_notif *call) {
  unsigned char address[128];
  if (call->data.args[2] > sizeof address) return EINVAL;
  struct iovec here = {address, call->data.args[2]};
  struct iovec there = {(void *)call->data.args[1], call->data.args[2]};
  if (process_vm_readv(call->pid, &here, 1, &there, 1, 0) != (ssize_t)call->data.args[2]) return EFAULT;
  const int pidfd = syscall(SYS_pidfd_open, call->pid, 0);
  if (pidfd < 0) return errno;
  const int socket = syscall(SYS_pidfd_getfd, pidfd, (int)call->data.args[0], 0);
  const int failed = socket < 0 ? errno : 0;
  close(pidfd);
  if (failed != 0) return failed;
  int result = ESRCH;
  if (is_valid(call->id)) result = connect(socket, (struct sockaddr *)address, call->data.args[2]) < 0 ? errno : 0;
  close(socket);
  return result;
}

/** All of a run share a CPU: see test/bench/broker/doors.ts. */
static void share_cpu(void) {
  cpu_set_t first;
  CPU_ZERO(&first);
  CPU_SET(0, &first);
  if (sched_setaffinity(0, sizeof first, &first) < 0) err(1, "sched_setaffinity");
}

int main(void) {
  share_cpu();
  ioctl(3, SECCOMP_IOCTL_NOTIF_SET_FLAGS, SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP);
  for (;;) {
    struct seccomp_notif call;
    memset(&call, 0, sizeof call);
    if (ioctl(3, SECCOMP_IOCTL_NOTIF_RECV, &call) < 0) {
      if (errno == EINTR || errno == ENOENT) continue;
      err(1, "NOTIF_RECV");
    }
    struct seccomp_notif_resp answer = {.id = call.id, .error = -serve(&call)};
    if (ioctl(3, SECCOMP_IOCTL_NOTIF_SEND, &answer) < 0 && errno != ENOENT) err(1, "NOTIF_SEND");
  }
}
