// SPDX-License-Identifier: Apache-2.0
#include <stddef.h>
#include <sys/rseq.h>

#include "victim.h"

// User code with its state in registers only.

uint64_t spin_in_registers(uint64_t seed, uint64_t rounds) {
  uint64_t lanes[4] = {seed, seed * 3, seed * 5, seed * 7};
  uint64_t general = seed;
  __asm__ volatile(
      "vmovdqu (%[lanes]), %%ymm7\n\t"
      "vmovdqu (%[lanes]), %%ymm15\n\t"
      "1:\n\t"
      "vpaddq %%ymm15, %%ymm7, %%ymm7\n\t"
      "vpxor %%ymm7, %%ymm15, %%ymm15\n\t"
      "imul $33, %[general], %[general]\n\t"
      "xor %[rounds], %[general]\n\t"
      "dec %[rounds]\n\t"
      "jnz 1b\n\t"
      "vpxor %%ymm15, %%ymm7, %%ymm7\n\t"
      "vmovdqu %%ymm7, (%[lanes])\n\t"
      "vzeroupper\n\t"
      : [general] "+r"(general), [rounds] "+r"(rounds)
      : [lanes] "r"(lanes)
      : "memory", "cc", "xmm7", "xmm15");
  return general ^ lanes[0] ^ lanes[1] ^ lanes[2] ^ lanes[3];
}

void* spin(void* seed) {
  enum { rounds = 1000000 };
  const uint64_t expected = spin_in_registers((uintptr_t)seed, rounds);
  while (!ending) EXPECT(spin_in_registers((uintptr_t)seed, rounds) == expected);
  return NULL;
}

void spinning(void) {
  pthread_t first = start(spin, (void*)12345);
  pthread_t second = start(spin, (void*)67890);
  ready(getpid());
  wait_for_end();
  pthread_join(first, NULL);
  pthread_join(second, NULL);
}

/// The leader too spins: nobody sits in a call.
void spinning_leader(void) {
  signal(SIGUSR1, tell);
  const uint64_t expected = spin_in_registers(99, 1000000);
  ready(getpid());
  while (!told) EXPECT(spin_in_registers(99, 1000000) == expected);
}

// A restartable sequence that ends only by being aborted: without its abort handler the thread would stay in it for ever.

static unsigned long aborts;
void restartable(void) {
  signal(SIGUSR1, tell);
  ready(getpid());
  struct rseq* area = (struct rseq*)((char*)__builtin_thread_pointer() + __rseq_offset);
  while (!told) {
    __asm__ volatile goto(
        ".pushsection .data.rseq_section, \"aw\"\n\t"
        ".balign 32\n\t"
        "3: .long 0, 0\n\t"
        ".quad 1f, 2f - 1f, 4f\n\t"
        ".popsection\n\t"
        "leaq 3b(%%rip), %%rax\n\t"
        "movq %%rax, %[section]\n\t"
        "1: jmp 1b\n\t"
        "2: ud2\n\t"
        ".long 0x53053053\n\t"
        "4: jmp %l[aborted]\n\t"
        :
        : [section] "m"(area->rseq_cs)
        : "rax", "memory"
        : aborted);
  aborted:
    aborts++;
  }
  // The end of a time slice is an abort as well.
  EXPECT(aborts > 0);
}
