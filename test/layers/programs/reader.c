// SPDX-License-Identifier: Apache-2.0
// `reader A B`: opens both files, and then does what it is told, a letter at a time on stdin, and answers with a line, until a signal ends it:
//   t  each of its threads, one that is new, and the newest of a chain of threads tries to open both: "A N of N, B N of N, held yes|no" (whether B, open since the
//      start, can be read)
//   w  tries to widen the rulesets that it was born with: "add ERRNO, restrict ERRNO, take ERRNO" (a rule is added; the thread is restricted by 999, which is no
//      descriptor; another file takes the number of the first ruleset)
//   c  closes all of them: "closed N"
//   d  duplicates stdin until it cannot: "N more, ERRNO"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { threads = 6, lowest_ruleset = 16300, highest_ruleset = 16382 };

static const char* paths[2];
static int wake[2];
static sem_t tried;
/// Nobody posts it.
static sem_t never;
static atomic_int opened[2];
static atomic_int attempts;
static atomic_bool chain_tries;

static void try_both(void) {
  for (int index = 0; index < 2; index++) {
    const int fd = open(paths[index], O_RDONLY);
    if (fd < 0) continue;
    opened[index]++;
    close(fd);
  }
  attempts++;
  sem_post(&tried);
}
static void* try_once(void* unused) {
  try_both();
  return unused;
}
static void* try_when_told(void* unused) {
  char byte;
  while (read(wake[0], &byte, 1) == 1) try_both();
  return unused;
}
static void start(void* (*function)(void*)) {
  pthread_t thread;
  if (pthread_create(&thread, NULL, function, NULL) != 0) abort();
  pthread_detach(thread);
}
/// Each makes the next and ends: a thread that is left out has its successors left out too. Some thousand a second, so that the processor is not theirs alone.
static void* chain(void* unused) {
  struct timespec until;
  clock_gettime(CLOCK_REALTIME, &until);
  until.tv_nsec += 100000;
  if (until.tv_nsec < 1000000000) sem_timedwait(&never, &until);
  if (atomic_exchange(&chain_tries, false)) try_both();
  start(chain);
  return unused;
}

static void try_in_all(int held) {
  attempts = opened[0] = opened[1] = 0;
  chain_tries = true;
  start(try_once);
  for (int index = 0; index < threads; index++)
    if (write(wake[1], "t", 1) != 1) abort();
  for (int index = 0; index < threads + 2; index++) sem_wait(&tried);
  try_both();
  sem_wait(&tried);
  char byte;
  const int all = attempts;
  printf("A %d of %d, B %d of %d, held %s\n", opened[0], all, opened[1], all, pread(held, &byte, 1, 0) == 1 ? "yes" : "no");
}

static const char* said(long result) { return result < 0 ? strerrorname_np(errno) : "done"; }

static int first_ruleset(void) {
  for (int fd = highest_ruleset; fd >= lowest_ruleset; fd--)
    if (fcntl(fd, F_GETFD) >= 0) return fd;
  return highest_ruleset;
}

static void widen(void) {
  const int ruleset = first_ruleset();
  const struct __attribute__((packed)) {
    unsigned long access;
    int fd;
  } rule = {1UL << 2, open("/", O_PATH)};
  printf("add %s, ", said(syscall(SYS_landlock_add_rule, ruleset, 1, &rule, 0)));
  printf("restrict %s, ", said(syscall(SYS_landlock_restrict_self, 999, 0)));
  printf("take %s\n", said(dup2(0, ruleset)));
  close(rule.fd);
}

static void close_rulesets(void) {
  int closed = 0;
  for (int fd = lowest_ruleset; fd <= highest_ruleset; fd++) closed += close(fd) == 0;
  printf("closed %d\n", closed);
}

static void duplicate(void) {
  int made = 0;
  int fds[100];
  while (made < 100 && (fds[made] = dup(0)) >= 0) made++;
  printf("%d more, %s\n", made, made == 100 ? "none" : strerrorname_np(errno));
  while (made > 0) close(fds[--made]);
}

int main(int count, char** arguments) {
  if (count != 3) return 2;
  paths[0] = arguments[1];
  paths[1] = arguments[2];
  const int held = open(paths[1], O_RDONLY);
  if (held < 0 || pipe(wake) != 0 || sem_init(&tried, 0, 0) != 0 || sem_init(&never, 0, 0) != 0) return 3;
  for (int index = 0; index < threads; index++) start(try_when_told);
  start(chain);
  puts("ready");
  fflush(stdout);
  char command;
  while (read(0, &command, 1) == 1) {
    if (command == 't') try_in_all(held);
    if (command == 'w') widen();
    if (command == 'c') close_rulesets();
    if (command == 'd') duplicate();
    fflush(stdout);
  }
  while (sem_wait(&never) != 0) continue;
  return 0;
}
