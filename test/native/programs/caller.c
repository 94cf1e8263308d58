// SPDX-License-Identifier: Apache-2.0
// Makes one call for each letter that it reads from descriptor 5, and answers each with a byte.
#include <poll.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <unistd.h>

int main(void) {
  char letter;
  struct pollfd channel = {.fd = 5, .events = POLLIN};
  while (poll(&channel, 1, -1) == 1 && read(5, &letter, 1) == 1) {
    if (letter == 'u') unlink("/no/such/file");
    if (letter == 'm') mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (letter == 'k') ptrace(PTRACE_TRACEME, 0, NULL, NULL);
    if (write(5, &letter, 1) != 1) return 1;
  }
  return 0;
}
