// SPDX-License-Identifier: Apache-2.0
// under-filter FD COMMAND ARGUMENT...: executes the command under the filter that FD holds. With "listener" before FD the filter
// has a notification listener, which this process holds while the command runs as its child.
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv) {
  static struct sock_filter instructions[4096];
  int listener = argc > 1 && !strcmp(argv[1], "listener");
  argv += listener;
  if (argc - listener < 3) return 125;
  ssize_t size = pread(atoi(argv[1]), instructions, sizeof instructions, 0);
  if (size <= 0) return 125;
  struct sock_fprog program = {(unsigned short)(size / 8), instructions};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return 125;
  if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, listener ? SECCOMP_FILTER_FLAG_NEW_LISTENER : 0, &program) < 0) return 125;
  if (listener) {
    pid_t child = fork();
    int how = 0;
    if (child > 0) return waitpid(child, &how, 0) == child && WIFEXITED(how) ? WEXITSTATUS(how) : 125;
  }
  execv(argv[2], argv + 2);
  return 126;
}
