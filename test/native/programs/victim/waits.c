// SPDX-License-Identifier: Apache-2.0
#include <linux/futex.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <time.h>

#include "victim.h"

// Threads in calls that wait: each must return what it would have, and never EINTR.

static int wakers[5][2];
static uint32_t word;

static void* in_read(void* unused) {
  char byte = 0;
  EXPECT(read(wakers[0][0], &byte, 1) == 1 && byte == 'r');
  return unused;
}
static void* in_poll(void* unused) {
  struct pollfd fd = {wakers[1][0], POLLIN, 0};
  EXPECT(poll(&fd, 1, 600000) == 1);
  return unused;
}
static void* in_ppoll(void* unused) {
  struct pollfd fd = {wakers[2][0], POLLIN, 0};
  sigset_t mask;
  sigfillset(&mask);
  EXPECT(ppoll(&fd, 1, NULL, &mask) == 1);
  return unused;
}
static void* in_epoll(void* timeout) {
  const int index = timeout == NULL ? 3 : 4;
  const int fd = epoll_create1(0);
  struct epoll_event event = {.events = EPOLLIN};
  EXPECT(epoll_ctl(fd, EPOLL_CTL_ADD, wakers[index][0], &event) == 0);
  EXPECT(epoll_wait(fd, &event, 1, timeout == NULL ? -1 : 600000) == 1);
  return NULL;
}
static void* in_futex(void* timed) {
  const struct timespec timeout = {600, 0};
  EXPECT(syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, timed == NULL ? NULL : &timeout, NULL, 0) == 0);
  return NULL;
}
static void* in_sigwait(void* unused) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR2);
  pthread_sigmask(SIG_BLOCK, &set, NULL);
  EXPECT(sigwaitinfo(&set, NULL) == SIGUSR2);
  return unused;
}

void waiting(void) {
  for (int index = 0; index < 5; index++) EXPECT(pipe(wakers[index]) == 0);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR2);
  pthread_sigmask(SIG_BLOCK, &set, NULL);
  pthread_t threads[] = {start(in_read, NULL),  start(in_poll, NULL),  start(in_ppoll, NULL), start(in_epoll, NULL),
                         start(in_epoll, &word), start(in_futex, NULL), start(in_futex, &word), start(in_sigwait, NULL)};
  ready(getpid());
  wait_for_end();
  for (int index = 0; index < 5; index++) EXPECT(write(wakers[index][1], "r", 1) == 1);
  EXPECT(kill(getpid(), SIGUSR2) == 0);
  // Wakes without changing the word, so that a futex wait that was begun anew would wait again.
  for (int woken = 0; woken < 2;) woken += (int)syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 2, NULL, NULL, 0);
  for (size_t index = 0; index < sizeof threads / sizeof *threads; index++) pthread_join(threads[index], NULL);
}

// Relative sleeps: interrupted ones go on for the rest of their time (restart_syscall).

static void* sleep_in(void* call) {
  const double begin = now();
  const struct timespec span = {1, 500000000};
  struct timespec rest;
  struct pollfd nothing = {-1, 0, 0};
  if (call == NULL) EXPECT(clock_nanosleep(CLOCK_MONOTONIC, 0, &span, &rest) == 0);
  if (call == &word) EXPECT(poll(&nothing, 1, 1500) == 0);
  if (call == &ending) EXPECT(syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, &span, NULL, 0) == -1 && errno == ETIMEDOUT);
  const double took = now() - begin;
  // The last interruption comes after 1 s: a sleep begun anew would take 2.5 s.
  if (took < 1.5 || took > 2.3) wrong("slept %f s", took);
  return NULL;
}

void sleeping(void) {
  pthread_t threads[] = {start(sleep_in, NULL), start(sleep_in, &word), start(sleep_in, (void*)&ending)};
  ready(getpid());
  for (size_t index = 0; index < 3; index++) pthread_join(threads[index], NULL);
  wait_for_end();
}

void sleeping_leader(void) {
  ready(getpid());
  sleep_in(NULL);
  wait_for_end();
}
