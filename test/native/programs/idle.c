// SPDX-License-Identifier: Apache-2.0
// idle THREADS: says "ready" when that many threads, the first included, wait in the kernel; ends at the end of its input.
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

// In a call that every filter permits: a refused one would be made again and again.
static pthread_barrier_t all_begun;

static void *wait_for_end(void *unused) {
  char byte;
  // What the C library does for a new thread is over.
  if (unused == &all_begun) pthread_barrier_wait(&all_begun);
  return read(0, &byte, 1) < 0 ? NULL : unused;
}

int main(int count, char **arguments) {
  int threads = count == 2 ? atoi(arguments[1]) : 0;
  if (threads < 1) return 2;
  // As the stager leaves a VMM; a stage does not count as entered without.
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return 1;
  pthread_barrier_init(&all_begun, NULL, (unsigned)threads);
  for (int index = 1; index < threads; index++) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, wait_for_end, &all_begun) != 0) return 1;
  }
  pthread_barrier_wait(&all_begun);
  puts("ready");
  fflush(stdout);
  wait_for_end(NULL);
  return 0;
}
