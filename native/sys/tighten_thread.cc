// SPDX-License-Identifier: Apache-2.0
#include "sys/tighten_thread.h"

#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>

namespace ratchet {

namespace {

struct Start {
  void (*function)(void*);
  void* context;
};

void* enter(void* untyped) {
  const auto* start = static_cast<const Start*>(untyped);
  // Short sleeps should be short: the default slack is 50 us (prctl(2)). Without effect on other threads.
  ::prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);
  start->function(start->context);
  return nullptr;
}

}  // namespace

Outcome run_on_tracer_thread(void (*function)(void*), void* context) {
  Start start{function, context};
  // The new thread inherits the mask: no handler of the embedding program runs on it.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_t thread;
  const int error = pthread_create(&thread, nullptr, enter, &start);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (error != 0) return Failure{error, "pthread_create"};
  pthread_join(thread, nullptr);
  return {};
}

}  // namespace ratchet
