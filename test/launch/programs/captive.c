// SPDX-License-Identifier: Apache-2.0
// captive: a named program that was taken over. Tries what it should not be able to do, and says of each how it ended: `NAME ERRNO`, 0 when it worked.
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static void say(const char *name, long result) { dprintf(1, "%s %d\n", name, result < 0 ? errno : 0); }

int main(int count, char **arguments) {
  // The launcher, of whom it knows by being its child.
  const long parent = syscall(SYS_getppid);
  char *none[] = {NULL};
  char *self[] = {arguments[0], "--again", NULL};
  if (count != 1) return 3;
  say("fork", syscall(SYS_fork));
  say("vfork", syscall(SYS_vfork));
  say("clone", syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
  say("clone-vm", syscall(SYS_clone, CLONE_VM | SIGCHLD, 0, 0, 0, 0));
  say("clone3", syscall(SYS_clone3, NULL, 0));
  say("execve", syscall(SYS_execve, "/bin/cat", self, none));
  say("execveat", syscall(SYS_execveat, 16383, "/bin/cat", self, none, AT_EMPTY_PATH));
  say("execveat-self", syscall(SYS_execveat, AT_FDCWD, arguments[0], self, none, 0));
  say("shadow", open("/etc/shadow", O_RDONLY));
  say("environment", open("/proc/self/environ", O_RDONLY));
  say("launcher-memory", open("/proc/1/mem", O_RDONLY));
  say("write", open("/tmp/captive-was-here", O_CREAT | O_WRONLY, 0600));
  say("socket", socket(AF_UNIX, SOCK_STREAM, 0));
  say("inet", socket(AF_INET, SOCK_STREAM, 0));
  say("socketpair", syscall(SYS_socketpair, AF_UNIX, SOCK_STREAM, 0, NULL));
  say("kill", syscall(SYS_kill, parent, SIGKILL));
  say("tgkill", syscall(SYS_tgkill, parent, parent, SIGUSR1));
  say("signal", syscall(SYS_rt_sigqueueinfo, parent, SIGUSR1, NULL));
  say("pdeathsig", syscall(SYS_prctl, 1 /* PR_SET_PDEATHSIG */, 0));
  say("setsid", syscall(SYS_setsid));
  say("limit", syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, &(struct rlimit){1 << 20, 1 << 20}, NULL));
  say("filter", syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, NULL));
  say("userns", syscall(SYS_unshare, CLONE_NEWUSER));
  say("uring", syscall(SYS_io_uring_setup, 1, NULL));
  say("fd3", fcntl(3, F_GETFD));
  say("stdin", fcntl(0, F_GETFD));
  return 0;
}
