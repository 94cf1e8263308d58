// SPDX-License-Identifier: Apache-2.0
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "victim.h"

static struct sock_filter on_call(unsigned int number, unsigned int action, struct sock_filter* rest) {
  rest[0] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1);
  rest[1] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, action);
  rest[2] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
  return (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
}
int install(unsigned int number, unsigned int action, unsigned int flags) {
  struct sock_filter filter[4];
  filter[0] = on_call(number, action, filter + 1);
  const struct sock_fprog program = {4, filter};
  EXPECT(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
  const int result = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
  EXPECT(result >= 0);
  return result;
}

static void refusing(unsigned int number, unsigned int action) {
  start(spin, (void*)1);
  install(number, action, SECCOMP_FILTER_FLAG_TSYNC);
  ready(getpid());
  wait_for_end();
}
void refusing_errno(void) { refusing(SYS_seccomp, SECCOMP_RET_ERRNO | ENOSYS); }
void refusing_kill(void) { refusing(SYS_seccomp, SECCOMP_RET_KILL_PROCESS); }
void refusing_trap(void) { refusing(SYS_seccomp, SECCOMP_RET_TRAP); }
/// What the trap raises stands behind these in the queue of the leader.
void refusing_trap_late(void) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGRTMIN);
  EXPECT(pthread_sigmask(SIG_BLOCK, &set, NULL) == 0);
  for (int sent = 0; sent < 200; sent++) EXPECT(pthread_sigqueue(pthread_self(), SIGRTMIN, (union sigval){.sival_int = sent}) == 0);
  refusing_trap();
  for (int sent = 0; sent < 200; sent++) {
    siginfo_t info;
    EXPECT(sigwaitinfo(&set, &info) == SIGRTMIN && info.si_value.sival_int == sent);
  }
}
void refusing_mmap(void) { refusing(SYS_mmap, SECCOMP_RET_ERRNO | ENOMEM); }
void filtered(void) { refusing(SYS_acct, SECCOMP_RET_ERRNO | EPERM); }

static void* with_own_filter(void* unused) {
  install(SYS_acct, SECCOMP_RET_ERRNO | EPERM, 0);
  ready(gettid());
  for (;;) pause();
  return unused;
}
void divergent(void) {
  start(with_own_filter, NULL);
  wait_for_end();
}
void divergent_same_count(void) {
  start(with_own_filter, NULL);
  install(SYS_swapon, SECCOMP_RET_ERRNO | EPERM, 0);
  wait_for_end();
}
