// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <unistd.h>

/// The byte on stdin has come.
extern atomic_bool ending;
/// SIGUSR1 has come, where tell() handles it.
extern volatile sig_atomic_t told;
void tell(int signal);

/// Says what is not so, with errno, and ends.
_Noreturn void wrong(const char* format, ...);
#define EXPECT(condition) \
  if (!(condition)) wrong("%s: not so: %s", __func__, #condition)

void ready(pid_t pid);
void wait_for_end(void);
pthread_t start(void* (*function)(void*), void* argument);
/// Seconds of the monotonic clock.
double now(void);

/// A result that depends on every register that it is computed in.
uint64_t spin_in_registers(uint64_t seed, uint64_t rounds);
/// A thread that does so until the end.
void* spin(void* seed);
/// A filter that answers one call so and allows all others.
int install(unsigned int number, unsigned int action, unsigned int flags);

// The victims: see main.c.
void waiting(void);
void sleeping(void);
void sleeping_leader(void);
void spinning(void);
void spinning_leader(void);
void restartable(void);
void churning(void);
void relayed(void);
void signalled(void);
void counting(void);
void trap_handled(void);
void trap_ignored(void);
void trap_waiting(void);
void refusing_errno(void);
void refusing_kill(void);
void refusing_trap(void);
void refusing_trap_late(void);
void refusing_mmap(void);
void filtered(void);
void divergent(void);
void divergent_same_count(void);
void supervised(void);
void supervised_alone(void);
void traced(void);
void undumpable(void);
void zombie(void);
void leader_gone(void);
void without_vdso(void);
void landlock_ready(void);
void landlock_closed(void);
void landlock_refusing_errno(void);
void landlock_answering(void);
void landlock_refusing_kill(void);
