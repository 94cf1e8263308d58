// SPDX-License-Identifier: Apache-2.0
// A program that does all at once what a tightening could disturb, and counts on the results: it moves data through a pipe and a file, computes in
// registers, makes threads that end at once, and gets signals. `working ANY` prints "ready PID", works until a byte comes on stdin, then
// checks the checksums that it computed throughout and prints "ok", or what was wrong.
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

enum { words = 512 };

static atomic_bool ending;

static void wrong(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vprintf(format, arguments);
  va_end(arguments);
  printf(" (errno %s)\n", strerrorname_np(errno));
  fflush(stdout);
  _exit(1);
}

#define EXPECT(condition) \
  if (!(condition)) wrong("%s: not so: %s", __func__, #condition)

/// The block of a round, and what it adds to a checksum.
static uint64_t block_of(uint64_t round, uint64_t* block) {
  uint64_t state = round * 0x9e3779b97f4a7c15u + 1;
  uint64_t sum = 0;
  for (int index = 0; index < words; index++) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    block[index] = state;
    sum = sum * 31 + state;
  }
  return sum;
}

static uint64_t sum_of(const uint64_t* block) {
  uint64_t sum = 0;
  for (int index = 0; index < words; index++) sum = sum * 31 + block[index];
  return sum;
}

/// What a worker computed from what came back to it, held against what it should be.
struct Work {
  uint64_t rounds;
  uint64_t sum;
};
static void check(const struct Work* work, const char* name) {
  uint64_t block[words];
  uint64_t sum = 0;
  for (uint64_t round = 0; round < work->rounds; round++) sum = sum * 17 + block_of(round, block);
  if (work->rounds == 0 || sum != work->sum)
    wrong("%s: checksum %llx after %llu rounds, not %llx", name, (unsigned long long)work->sum, (unsigned long long)work->rounds, (unsigned long long)sum);
}
static void add(struct Work* work, uint64_t sum) {
  work->sum = work->sum * 17 + sum;
  work->rounds++;
}

static int pipe_ends[2];
static void* write_pipe(void* unused) {
  uint64_t block[words];
  for (uint64_t round = 0; !ending; round++) {
    block_of(round, block);
    EXPECT(write(pipe_ends[1], block, sizeof block) == sizeof block);
  }
  close(pipe_ends[1]);
  return unused;
}
static struct Work piped;
static void* read_pipe(void* unused) {
  uint64_t block[words];
  for (;;) {
    size_t have = 0;
    while (have < sizeof block) {
      const ssize_t count = read(pipe_ends[0], (char*)block + have, sizeof block - have);
      if (count == 0 && have == 0) return unused;
      EXPECT(count > 0);
      have += (size_t)count;
    }
    add(&piped, sum_of(block));
  }
}

static struct Work filed;
static void* use_file(void* unused) {
  const int fd = memfd_create("working", 0);
  EXPECT(fd >= 0);
  uint64_t block[words];
  for (uint64_t round = 0; !ending; round++) {
    block_of(round, block);
    const off_t at = (off_t)(round % 64 * sizeof block);
    EXPECT(pwrite(fd, block, sizeof block, at) == sizeof block);
    memset(block, 0, sizeof block);
    EXPECT(pread(fd, block, sizeof block, at) == sizeof block);
    add(&filed, sum_of(block));
  }
  return unused;
}

/// In vector registers: a lost one would show in every later sum.
static struct Work computed;
static void* compute(void* unused) {
  uint64_t block[words];
  while (!ending) {
    const uint64_t round = computed.rounds;
    block_of(round, block);
    double lanes[4] = {1, 2, 3, 4};
    for (int pass = 0; pass < 2000; pass++)
      for (int lane = 0; lane < 4; lane++) lanes[lane] = lanes[lane] * 1.000001 + 0.5;
    double again[4] = {1, 2, 3, 4};
    for (int pass = 0; pass < 2000; pass++)
      for (int lane = 0; lane < 4; lane++) again[lane] = again[lane] * 1.000001 + 0.5;
    EXPECT(memcmp(lanes, again, sizeof lanes) == 0);
    add(&computed, sum_of(block));
  }
  return unused;
}

static struct Work threaded;
static void* one_round(void* result) {
  uint64_t block[words];
  *(uint64_t*)result = block_of(*(uint64_t*)result, block);
  return result;
}
static void* make_threads(void* unused) {
  for (uint64_t round = 0; !ending; round += 4) {
    uint64_t values[4];
    pthread_t threads[4];
    for (uint64_t index = 0; index < 4; index++) {
      values[index] = round + index;
      EXPECT(pthread_create(&threads[index], NULL, one_round, &values[index]) == 0);
    }
    for (int index = 0; index < 4; index++) {
      EXPECT(pthread_join(threads[index], NULL) == 0);
      add(&threaded, values[index]);
    }
  }
  return unused;
}

static volatile sig_atomic_t ticks;
static volatile sig_atomic_t queued;
static volatile sig_atomic_t disorder;
static void on_tick(int signal) {
  (void)signal;
  ticks++;
}
static void on_queued(int signal, siginfo_t* info, void* context) {
  (void)signal;
  (void)context;
  if (info->si_value.sival_int != queued || info->si_code != SI_QUEUE) disorder = 1;
  queued++;
}
static int sent;
static void* send_signals(void* leader) {
  while (!ending) {
    const union sigval value = {.sival_int = sent};
    if (pthread_sigqueue((pthread_t)leader, SIGRTMIN, value) == 0) sent++;
    usleep(100);
  }
  return NULL;
}

int main(void) {
  // As the stager leaves a VMM.
  EXPECT(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
  EXPECT(pipe(pipe_ends) == 0);
  const struct sigaction tick = {.sa_handler = on_tick, .sa_flags = SA_RESTART};
  const struct sigaction queue = {.sa_sigaction = on_queued, .sa_flags = SA_RESTART | SA_SIGINFO};
  EXPECT(sigaction(SIGALRM, &tick, NULL) == 0 && sigaction(SIGRTMIN, &queue, NULL) == 0);
  const struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM};
  timer_t timer;
  EXPECT(timer_create(CLOCK_MONOTONIC, (struct sigevent*)&event, &timer) == 0);
  const struct itimerspec interval = {{0, 1000000}, {0, 1000000}};
  EXPECT(timer_settime(timer, 0, &interval, NULL) == 0);

  void* (*const functions[])(void*) = {write_pipe, read_pipe, use_file, compute, make_threads, send_signals};
  pthread_t threads[sizeof functions / sizeof *functions];
  for (size_t index = 0; index < sizeof threads / sizeof *threads; index++)
    EXPECT(pthread_create(&threads[index], NULL, functions[index], (void*)pthread_self()) == 0);
  printf("ready %d\n", getpid());
  fflush(stdout);
  char byte;
  EXPECT(read(0, &byte, 1) == 1);
  ending = true;
  for (size_t index = 0; index < sizeof threads / sizeof *threads; index++) pthread_join(threads[index], NULL);
  check(&piped, "pipe");
  check(&filed, "file");
  check(&computed, "registers");
  check(&threaded, "threads");
  EXPECT(ticks > 0 && !disorder);
  if (queued != sent) wrong("%d signals of %d came", (int)queued, sent);
  puts("ok");
  return 0;
}
