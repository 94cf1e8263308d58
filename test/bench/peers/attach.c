// SPDX-License-Identifier: Apache-2.0
// attach ROUNDS PROGRAM...: what seccomp(SECCOMP_SET_MODE_FILTER) takes, each time in a fresh child, the programs in turns. Prints one line a
// program: nanoseconds, ROUNDS of them. Each program must allow exit_group.
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { most_instructions = 4096 };

static void fail(const char *what) {
  perror(what);
  exit(1);
}

static struct sock_fprog read_program(const char *path) {
  struct sock_filter *filter = malloc(most_instructions * sizeof *filter);
  FILE *file = fopen(path, "rb");
  if (filter == NULL || file == NULL) fail(path);
  size_t count = fread(filter, sizeof *filter, most_instructions, file);
  fclose(file);
  return (struct sock_fprog){.len = (unsigned short)count, .filter = filter};
}

static int64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

int main(int argc, char **argv) {
  if (argc < 3) {
    fprintf(stderr, "usage: attach ROUNDS PROGRAM...\n");
    return 2;
  }
  int rounds = atoi(argv[1]);
  int programs = argc - 2;
  int64_t *spent = mmap(NULL, sizeof(int64_t) * (size_t)(rounds * programs), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  struct sock_fprog *loaded = calloc((size_t)programs, sizeof *loaded);
  if (spent == MAP_FAILED || loaded == NULL) fail("memory");
  for (int index = 0; index < programs; index++) loaded[index] = read_program(argv[index + 2]);
  for (int round = 0; round < rounds; round++) {
    for (int index = 0; index < programs; index++) {
      pid_t child = fork();
      if (child < 0) fail("fork");
      if (child == 0) {
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) _exit(1);
        int64_t before = now();
        if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &loaded[index]) != 0) _exit(1);
        spent[index * rounds + round] = now() - before;
        _exit(0);
      }
      int status;
      if (waitpid(child, &status, 0) != child || status != 0) {
        fprintf(stderr, "attach: %s: child status 0x%x\n", argv[index + 2], status);
        return 1;
      }
    }
  }
  for (int index = 0; index < programs; index++) {
    for (int round = 0; round < rounds; round++) printf("%ld ", (long)spent[index * rounds + round]);
    printf("\n");
  }
  return 0;
}
