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

int create(pthread_t& thread, Start& start) {
  // The new thread inherits the mask: no handler of the embedding program runs on it.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  const int error = pthread_create(&thread, nullptr, enter, &start);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return error;
}

}  // namespace

Outcome run_on_tracer_thread(void (*function)(void*), void* context) {
  Start start{function, context};
  pthread_t thread;
  if (const int error = create(thread, start); error != 0) return Failure{error, "pthread_create"};
  pthread_join(thread, nullptr);
  return {};
}

bool beside_this_thread(const std::function<void()>& beside, const std::function<void()>& here) {
  const auto run = [](void* function) { (*static_cast<const std::function<void()>*>(function))(); };
  Start start{run, const_cast<std::function<void()>*>(&beside)};
  pthread_t thread;
  const bool both = create(thread, start) == 0;
  here();
  if (both) pthread_join(thread, nullptr);
  return both;
}

}  // namespace ratchet
