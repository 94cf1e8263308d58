// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>
#include <sys/syscall.h>
#include <time.h>

#include "victim.h"

// Signals: 1 kHz from a timer, and queued ones of which none may be lost or change places.

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
  if (info->si_value.sival_int != queued || info->si_code != SI_QUEUE || info->si_pid != getpid()) disorder = 1;
  queued++;
}
static int sent;
/// Never more than these wait: RLIMIT_SIGPENDING counts those of all processes of the user, and with none left no other program of that user can
/// queue any. A receiver that a tracer has stopped takes none.
enum { most_waiting = 1024 };
static void* send_signals(void* target) {
  while (!ending) {
    if (sent - queued >= most_waiting) {
      usleep(100);
      continue;
    }
    const union sigval value = {.sival_int = sent};
    if (pthread_sigqueue((pthread_t)target, SIGRTMIN, value) == 0) sent++;
    if (sent % 16 == 0) usleep(100);
  }
  return NULL;
}
void signalled(void) {
  struct sigaction tick = {.sa_handler = on_tick, .sa_flags = SA_RESTART};
  struct sigaction queue = {.sa_sigaction = on_queued, .sa_flags = SA_RESTART | SA_SIGINFO};
  EXPECT(sigaction(SIGALRM, &tick, NULL) == 0 && sigaction(SIGRTMIN, &queue, NULL) == 0);
  // They come to the leader, which is the thread that is stopped.
  pthread_t sender;
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, NULL);
  sender = start(send_signals, (void*)pthread_self());
  sigemptyset(&all);
  pthread_sigmask(SIG_SETMASK, &all, NULL);
  const struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM};
  timer_t timer;
  EXPECT(timer_create(CLOCK_MONOTONIC, (struct sigevent*)&event, &timer) == 0);
  const struct itimerspec interval = {{0, 1000000}, {0, 1000000}};
  EXPECT(timer_settime(timer, 0, &interval, NULL) == 0);
  ready(getpid());
  wait_for_end();
  pthread_join(sender, NULL);
  sigset_t mask;
  pthread_sigmask(SIG_SETMASK, NULL, &mask);
  EXPECT(!sigismember(&mask, SIGRTMIN) && !sigismember(&mask, SIGALRM));
  EXPECT(ticks > 0 && !disorder);
  if (queued != sent) wrong("%d signals of %d came", (int)queued, sent);
}

/// Prints how many signals came: real-time ones are queued each by itself.
static volatile sig_atomic_t system_call_signals;
static volatile sig_atomic_t traps;
static void on_any(int signal) {
  if (signal == SIGSYS) system_call_signals++;
  if (signal == SIGTRAP) traps++;
  if (signal == SIGRTMIN) queued++;
}
void counting(void) {
  struct sigaction any = {.sa_handler = on_any, .sa_flags = SA_RESTART};
  EXPECT(sigaction(SIGRTMIN, &any, NULL) == 0 && sigaction(SIGSYS, &any, NULL) == 0);
  ready(getpid());
  wait_for_end();
  printf("SIGRTMIN %d SIGSYS %d\n", (int)queued, (int)system_call_signals);
}

/// SIGTRAP is what a single step raises: handled, ignored, or blocked with one waiting, it is as before.
static void keep_traps(void (*handler)(int), bool block) {
  struct sigaction any = {.sa_handler = handler, .sa_flags = SA_RESTART};
  EXPECT(sigaction(SIGTRAP, &any, NULL) == 0);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTRAP);
  if (block) EXPECT(pthread_sigmask(SIG_BLOCK, &set, NULL) == 0 && raise(SIGTRAP) == 0);
  ready(getpid());
  wait_for_end();
  struct sigaction now;
  EXPECT(sigaction(SIGTRAP, NULL, &now) == 0 && now.sa_handler == handler);
  EXPECT(traps == 0 || !block);
  if (block) EXPECT(pthread_sigmask(SIG_UNBLOCK, &set, NULL) == 0);
  printf("SIGTRAP %d\n", (int)traps);
}
void trap_handled(void) { keep_traps(on_any, false); }
void trap_ignored(void) { keep_traps(SIG_IGN, false); }
void trap_waiting(void) { keep_traps(on_any, true); }
