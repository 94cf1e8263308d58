// SPDX-License-Identifier: Apache-2.0
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "victim.h"

atomic_bool ending;

_Noreturn void wrong(const char* format, ...) {
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

void ready(pid_t pid) {
  printf("ready %d\n", pid);
  fflush(stdout);
}

void wait_for_end(void) {
  char byte;
  EXPECT(read(0, &byte, 1) == 1);
  ending = true;
}

pthread_t start(void* (*function)(void*), void* argument) {
  pthread_t thread;
  EXPECT(pthread_create(&thread, NULL, function, argument) == 0);
  return thread;
}

double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

volatile sig_atomic_t told;
void tell(int signal) {
  (void)signal;
  told = 1;
}
