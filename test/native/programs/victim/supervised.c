// SPDX-License-Identifier: Apache-2.0
#include <linux/seccomp.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "victim.h"

// A leader in a supervisor's hands.

static int listener;
static void* supervise(void* unused) {
  struct seccomp_notif call = {0};
  EXPECT(ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &call) == 0);
  ready(getpid());
  wait_for_end();
  struct seccomp_notif_resp answer = {.id = call.id, .val = 42};
  // ENOENT if the call had been interrupted.
  EXPECT(ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer) == 0);
  return unused;
}
void supervised(void) {
  listener = install(SYS_acct, SECCOMP_RET_USER_NOTIF, SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV);
  pthread_t supervisor = start(supervise, NULL);
  EXPECT(syscall(SYS_acct, NULL) == 42);
  pthread_join(supervisor, NULL);
}
void supervised_alone(void) {
  listener = install(SYS_acct, SECCOMP_RET_USER_NOTIF, SECCOMP_FILTER_FLAG_NEW_LISTENER);
  const pid_t child = fork();
  if (child == 0) {
    syscall(SYS_acct, NULL);
    _exit(0);
  }
  struct seccomp_notif call = {0};
  EXPECT(ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &call) == 0);
  ready(child);
  wait_for_end();
  struct seccomp_notif_resp answer = {.id = call.id, .val = 0};
  EXPECT(ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer) == 0);
  EXPECT(waitpid(child, NULL, 0) == child);
}
