// SPDX-License-Identifier: Apache-2.0
// Programs to be tightened, one property each. `victim NAME` prints "ready PID", works until a byte comes on stdin, then checks what it did
// and prints "ok" or what was wrong. A single wrong answer anywhere counts.
#include <stdio.h>
#include <string.h>

#include "victim.h"

static const struct {
  const char* name;
  void (*function)(void);
} victims[] = {
    {"waiting", waiting},
    {"sleeping", sleeping},
    {"sleeping-leader", sleeping_leader},
    {"spinning", spinning},
    {"spinning-leader", spinning_leader},
    {"churning", churning},
    {"relayed", relayed},
    {"signalled", signalled},
    {"counting", counting},
    {"trap-handled", trap_handled},
    {"trap-ignored", trap_ignored},
    {"trap-waiting", trap_waiting},
    {"refusing-errno", refusing_errno},
    {"refusing-kill", refusing_kill},
    {"refusing-trap", refusing_trap},
    {"refusing-trap-late", refusing_trap_late},
    {"refusing-mmap", refusing_mmap},
    {"filtered", filtered},
    {"divergent", divergent},
    {"divergent-same-count", divergent_same_count},
    {"supervised", supervised},
    {"supervised-alone", supervised_alone},
    {"traced", traced},
    {"undumpable", undumpable},
    {"zombie", zombie},
    {"leader-gone", leader_gone},
    {"without-vdso", without_vdso},
    {"restartable", restartable},
    {"landlock-ready", landlock_ready},
    {"landlock-closed", landlock_closed},
    {"landlock-refusing-errno", landlock_refusing_errno},
    {"landlock-answering", landlock_answering},
    {"landlock-refusing-kill", landlock_refusing_kill},
};

int main(int count, char** arguments) {
  for (size_t index = 0; count > 1 && index < sizeof victims / sizeof *victims; index++) {
    if (strcmp(arguments[1], victims[index].name) != 0) continue;
    victims[index].function();
    puts("ok");
    return 0;
  }
  fprintf(stderr, "usage: victim NAME\n");
  return 2;
}
