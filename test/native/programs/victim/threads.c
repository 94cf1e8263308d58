// SPDX-License-Identifier: Apache-2.0
#include <sched.h>
#include <time.h>

#include "victim.h"

// Threads that begin and end all the time.

static atomic_ulong made;
static atomic_ulong ended;
static void* short_life(void* argument) {
  volatile uint64_t sum = 0;
  for (uint64_t index = 0; index < (uintptr_t)argument; index++) sum += index;
  ended++;
  return (void*)(uintptr_t)sum;
}
static void* make_threads(void* unused) {
  while (!ending) {
    pthread_t threads[4];
    for (uintptr_t index = 0; index < 4; index++) threads[index] = start(short_life, (void*)(index * 100));
    made += 4;
    for (uintptr_t index = 0; index < 4; index++) {
      void* sum;
      const uintptr_t count = index * 100;
      EXPECT(pthread_join(threads[index], &sum) == 0);
      EXPECT((uintptr_t)sum == (count == 0 ? 0 : count * (count - 1) / 2));
    }
  }
  return unused;
}
void churning(void) {
  pthread_t first = start(make_threads, NULL);
  pthread_t second = start(make_threads, NULL);
  ready(getpid());
  wait_for_end();
  pthread_join(first, NULL);
  pthread_join(second, NULL);
  EXPECT(made == ended && made > 0);
}

// Three chains of threads, of which each makes the next just before it ends: whoever is left out leaves another one.

enum { chains = 3 };
static atomic_int open_chains = chains;
static void* make_next(void* unused) {
  const struct timespec span = {0, 100000};
  nanosleep(&span, NULL);
  if (ending) open_chains--;
  else pthread_detach(start(make_next, NULL));
  return unused;
}
void relayed(void) {
  for (int index = 0; index < chains; index++) pthread_detach(start(make_next, NULL));
  ready(getpid());
  wait_for_end();
  while (open_chains > 0) sched_yield();
}
