// SPDX-License-Identifier: Apache-2.0
// Loads a compiled filter (struct sock_filter after struct sock_filter) as the stager does the first one, or for all threads as a later stage comes, and tells
// whether the kernel took it. argv: the file, then "own" or "all".
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char **argv) {
  static struct sock_filter instructions[4096];
  int file = argc == 3 ? open(argv[1], O_RDONLY) : -1;
  long length = read(file, instructions, sizeof instructions);
  if (length <= 0) return printf("unreadable %s\n", strerror(errno)), 1;
  struct sock_fprog program = {(unsigned short)(length / sizeof *instructions), instructions};
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  unsigned int flags = strcmp(argv[2], "all") ? SECCOMP_FILTER_FLAG_NEW_LISTENER : SECCOMP_FILTER_FLAG_TSYNC;
  long answer = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
  // What is printed now has to pass the filter.
  char line[64];
  int said = snprintf(line, sizeof line, "%s\n", answer < 0 ? strerror(errno) : "installed");
  return syscall(SYS_write, 1, line, said) != said;
}
