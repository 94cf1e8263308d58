// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include "victim.h"

// Targets that are special in another way.

void traced(void) {
  const pid_t child = fork();
  if (child == 0)
    for (;;) pause();
  EXPECT(ptrace(PTRACE_SEIZE, child, 0, PTRACE_O_EXITKILL) == 0);
  ready(child);
  wait_for_end();
}

void undumpable(void) {
  EXPECT(prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0);
  ready(getpid());
  wait_for_end();
}

void zombie(void) {
  const pid_t child = fork();
  if (child == 0) _exit(0);
  siginfo_t info;
  EXPECT(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT) == 0);
  ready(child);
  wait_for_end();
}

static void* outlive(void* leader) {
  pthread_join((pthread_t)leader, NULL);
  ready(getpid());
  wait_for_end();
  puts("ok");
  fflush(stdout);
  _exit(0);
}
void leader_gone(void) {
  start(outlive, (void*)pthread_self());
  start(spin, (void*)5);
  pthread_exit(NULL);
}

void without_vdso(void) {
  char* vdso = (char*)getauxval(AT_SYSINFO_EHDR);
  EXPECT(munmap(vdso, 8192) == 0);
  ready(getpid());
  wait_for_end();
}
