// SPDX-License-Identifier: Apache-2.0
// Holds what the arguments name, says "ready", and waits for its end.
#include <linux/io_uring.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/// A descriptor in a table that only this thread has.
static void* hold_apart(void* held) {
  if (unshare(CLONE_FILES) != 0 || syscall(SYS_pidfd_open, getpid(), 0) < 0) _exit(2);
  pthread_barrier_wait(held);
  for (;;) pause();
}

int main(int argc, char** argv) {
  for (int at = 1; at < argc; at++) {
    if (strcmp(argv[at], "ring") == 0 || strcmp(argv[at], "mapped-ring") == 0 || strcmp(argv[at], "polled-ring") == 0) {
      struct io_uring_params params = {0};
      // A thread of the kernel's takes what is put into such a ring: no call is made at all.
      if (strcmp(argv[at], "polled-ring") == 0) params.flags = IORING_SETUP_SQPOLL;
      int fd = (int)syscall(SYS_io_uring_setup, 4, &params);
      if (fd < 0) return 2;
      if (strcmp(argv[at], "mapped-ring") == 0) {
        if (mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, IORING_OFF_SQ_RING) == MAP_FAILED) return 3;
        close(fd);
      }
    } else if (strcmp(argv[at], "pidfd") == 0) {
      if (syscall(SYS_pidfd_open, getpid(), 0) < 0) return 2;
    } else if (strcmp(argv[at], "pidfd-of-a-thread") == 0) {
      static pthread_barrier_t held;
      pthread_t thread;
      pthread_barrier_init(&held, NULL, 2);
      if (pthread_create(&thread, NULL, hold_apart, &held) != 0) return 2;
      pthread_barrier_wait(&held);
    } else if (strcmp(argv[at], "unix-datagram") == 0) {
      if (socket(AF_UNIX, SOCK_DGRAM, 0) < 0) return 2;
    } else if (strcmp(argv[at], "unix-stream") == 0) {
      if (socket(AF_UNIX, SOCK_STREAM, 0) < 0) return 2;
    } else if (strcmp(argv[at], "packet") == 0) {
      if (socket(AF_PACKET, SOCK_RAW, 0) < 0) return 2;
    } else if (strcmp(argv[at], "raw") == 0) {
      if (socket(AF_INET, SOCK_RAW, IPPROTO_ICMP) < 0) return 2;
    } else if (strcmp(argv[at], "child") == 0) {
      if (fork() == 0) {
        char byte;
        return (int)read(0, &byte, 1);
      }
    } else {
      return 1;
    }
  }
  puts("ready");
  fflush(stdout);
  char byte;
  return (int)read(0, &byte, 1);
}
