// SPDX-License-Identifier: Apache-2.0
// A process that holds a Landlock ruleset, and whose every thread tries at the end what the ruleset would refuse. Two relays of threads, of which each makes the
// next and ends, go on all the time: one thread that is left out is never lost.
#include <fcntl.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <semaphore.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "victim.h"

enum { ruleset_fd = 400, waiting_threads = 6, relays = 2 };
static const char permitted[] = "/usr/bin/env";
static const char refused[] = "/etc/passwd";

static int wake[2];
static sem_t told_all;
/// Threads that may still open everything, and those that may not.
static atomic_int free_threads;
static atomic_int restricted_threads;

/// Reading beneath /usr is permitted, and nowhere else.
static void make_ruleset(void) {
  const struct landlock_ruleset_attr handled = {.handled_access_fs = LANDLOCK_ACCESS_FS_READ_FILE};
  const int made = (int)syscall(SYS_landlock_create_ruleset, &handled, sizeof handled, 0);
  EXPECT(made >= 0);
  const struct landlock_path_beneath_attr rule = {LANDLOCK_ACCESS_FS_READ_FILE, open("/usr", O_PATH)};
  EXPECT(syscall(SYS_landlock_add_rule, made, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) == 0);
  EXPECT(dup2(made, ruleset_fd) == ruleset_fd);
}

static void attempt(void) {
  const int may = open(permitted, O_RDONLY);
  EXPECT(may >= 0);
  close(may);
  const int fd = open(refused, O_RDONLY);
  if (fd >= 0) {
    close(fd);
    free_threads++;
  } else {
    EXPECT(errno == EACCES);
    restricted_threads++;
  }
}
static void* attempt_when_told(void* unused) {
  char byte;
  EXPECT(read(wake[0], &byte, 1) == 1);
  attempt();
  sem_post(&told_all);
  return unused;
}
static void* run_relay(void* unused) {
  if (ending) {
    attempt();
    sem_post(&told_all);
  } else {
    pthread_detach(start(run_relay, NULL));
  }
  return unused;
}

static void close_ruleset(int signal) {
  (void)signal;
  close(ruleset_fd);
}

static void try_with_ruleset(bool closed) {
  EXPECT(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
  make_ruleset();
  if (closed) close(ruleset_fd);
  signal(SIGUSR1, close_ruleset);
  const int held = open(refused, O_RDONLY);
  EXPECT(pipe(wake) == 0 && sem_init(&told_all, 0, 0) == 0);
  for (int index = 0; index < waiting_threads; index++) pthread_detach(start(attempt_when_told, NULL));
  for (int index = 0; index < relays; index++) pthread_detach(start(run_relay, NULL));
  // For another thread than the leader, who may be held by its tracer when it comes.
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  EXPECT(pthread_sigmask(SIG_BLOCK, &set, NULL) == 0);
  ready(getpid());
  wait_for_end();
  for (int index = 0; index < waiting_threads; index++) EXPECT(write(wake[1], "r", 1) == 1);
  for (int index = 0; index < waiting_threads + relays; index++)
    while (sem_wait(&told_all) != 0) EXPECT(errno == EINTR);
  attempt();
  char byte;
  EXPECT(read(held, &byte, 1) == 1);
  EXPECT(free_threads == 0 || restricted_threads == 0);
  puts(free_threads == 0 ? "restricted" : "free");
}

void landlock_ready(void) { try_with_ruleset(false); }
void landlock_closed(void) { try_with_ruleset(true); }
static void refusing_restriction(unsigned int action) {
  install(SYS_landlock_restrict_self, action, 0);
  try_with_ruleset(false);
}
void landlock_refusing_errno(void) { refusing_restriction(SECCOMP_RET_ERRNO | ENOSYS); }
/// As if it had been done.
void landlock_answering(void) { refusing_restriction(SECCOMP_RET_ERRNO | 0); }
void landlock_refusing_kill(void) { refusing_restriction(SECCOMP_RET_KILL_PROCESS); }
