// SPDX-License-Identifier: Apache-2.0
// refused COUNT: makes that many calls that its filter refuses, and ends at once.
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int count, char **arguments) {
  if (count != 2) return 2;
  for (int calls = atoi(arguments[1]); calls > 0; calls--)
    if (syscall(SYS_getpgrp) != -1) return 1;
  return 0;
}
