// SPDX-License-Identifier: Apache-2.0
// probe CALLS RESULTS FILTER...: what the running kernel's seccomp answers to calls, without making any.
//
// FILTERs are consecutive struct sock_filter, installed on top of each other. Every return in them is one that makes no call: SECCOMP_RET_TRAP or
// SECCOMP_RET_ERRNO with a marker, SECCOMP_RET_USER_NOTIF, or SECCOMP_RET_TRACE, which is -ENOSYS when no tracer is there. All but the last let
// seccomp() itself through when its sixth argument, which it ignores, is install_mark. CALLS holds seven 64-bit words a call (number,
// six arguments), RESULTS receives one 64-bit word each: what the system call instruction returned, minus the marker of a signal, or
// -notified when the first filter asked its listener. The child that loads the filters can no longer write or exit: it leaves
// results in shared memory and ends with an illegal instruction.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { words_per_call = 7, install_mark = 0x7261746d, notified = 4094 };

struct shared {
  int load_errno;
  int done;
  int64_t results[];
};

static void fail(const char *what) {
  fprintf(stderr, "probe: %s: %s\n", what, strerror(errno));
  exit(1);
}

static void *read_file(const char *path, size_t *bytes) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  struct stat info;
  if (fd < 0 || fstat(fd, &info) < 0) fail(path);
  *bytes = (size_t)info.st_size;
  char *data = malloc(*bytes + 1);
  size_t got = 0;
  while (data != NULL && got < *bytes) {
    ssize_t count = read(fd, data + got, *bytes - got);
    if (count <= 0) fail(path);
    got += (size_t)count;
  }
  close(fd);
  return data;
}

static int64_t call_kernel(const uint64_t *words) {
#if defined(__x86_64__)
  register uint64_t r10 __asm__("r10") = words[4];
  register uint64_t r8 __asm__("r8") = words[5];
  register uint64_t r9 __asm__("r9") = words[6];
  int64_t result;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(words[0]), "D"(words[1]), "S"(words[2]), "d"(words[3]), "r"(r10), "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory");
  return result;
#elif defined(__aarch64__)
  register uint64_t x8 __asm__("x8") = words[0];
  register uint64_t x0 __asm__("x0") = words[1];
  register uint64_t x1 __asm__("x1") = words[2];
  register uint64_t x2 __asm__("x2") = words[3];
  register uint64_t x3 __asm__("x3") = words[4];
  register uint64_t x4 __asm__("x4") = words[5];
  register uint64_t x5 __asm__("x5") = words[6];
  __asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
  return (int64_t)x0;
#elif defined(__riscv)
  register uint64_t a7 __asm__("a7") = words[0];
  register uint64_t a0 __asm__("a0") = words[1];
  register uint64_t a1 __asm__("a1") = words[2];
  register uint64_t a2 __asm__("a2") = words[3];
  register uint64_t a3 __asm__("a3") = words[4];
  register uint64_t a4 __asm__("a4") = words[5];
  register uint64_t a5 __asm__("a5") = words[6];
  __asm__ volatile("ecall" : "+r"(a0) : "r"(a7), "r"(a1), "r"(a2), "r"(a3), "r"(a4), "r"(a5) : "memory");
  return (int64_t)a0;
#else
#error "no system call instruction for this architecture"
#endif
}

static atomic_int listener_fd = -1;
static sigjmp_buf after_signal;
static volatile int64_t signal_marker;

/** Answers every notification. This thread was there before the filters and has none. */
static void *answer(void *unused) {
  while (listener_fd < 0) sched_yield();
  for (;;) {
    struct seccomp_notif notification = {0};
    if (ioctl(listener_fd, SECCOMP_IOCTL_NOTIF_RECV, &notification) < 0) return unused;
    struct seccomp_notif_resp response = {.id = notification.id, .error = -notified};
    if (ioctl(listener_fd, SECCOMP_IOCTL_NOTIF_SEND, &response) < 0) return unused;
  }
}

/** rt_sigreturn is a call like any other here, so the handler jumps instead of returning. */
static void on_trap(int signal, siginfo_t *info, void *context) {
  (void)signal;
  (void)context;
  signal_marker = info->si_errno;
  siglongjmp(after_signal, 1);
}

static int64_t answer_of_kernel(const uint64_t *words) {
  // No signal mask is kept: restoring one is a call. SA_NODEFER leaves SIGSYS unblocked.
  if (sigsetjmp(after_signal, 0) != 0) return -signal_marker;
  return call_kernel(words);
}

static void probe(struct sock_fprog *programs, size_t program_count, const uint64_t *calls, size_t count,
                  struct shared *shared) {
  struct sigaction action = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO | SA_NODEFER};
  pthread_t thread;
  if (sigaction(SIGSYS, &action, NULL) < 0 || pthread_create(&thread, NULL, answer, NULL) != 0) _exit(1);
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) _exit(1);
  for (size_t index = 0; index < program_count; index++) {
    unsigned long flags = index == 0 ? SECCOMP_FILTER_FLAG_NEW_LISTENER : 0;
    long result = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &programs[index], 0, 0, install_mark);
    if (result < 0) {
      shared->load_errno = errno;
      __builtin_trap();
    }
    if (index == 0) listener_fd = (int)result;
  }
  for (size_t index = 0; index < count; index++) {
    shared->results[index] = answer_of_kernel(calls + index * words_per_call);
  }
  shared->done = 1;
  __builtin_trap();
}

int main(int argc, char **argv) {
  if (argc < 4) {
    fprintf(stderr, "usage: probe CALLS RESULTS FILTER...\n");
    return 2;
  }
  size_t program_count = (size_t)argc - 3;
  struct sock_fprog *programs = calloc(program_count, sizeof(*programs));
  if (programs == NULL) fail("calloc");
  for (size_t index = 0; index < program_count; index++) {
    size_t bytes;
    programs[index].filter = read_file(argv[index + 3], &bytes);
    programs[index].len = (unsigned short)(bytes / sizeof(struct sock_filter));
  }
  size_t call_bytes;
  uint64_t *calls = read_file(argv[1], &call_bytes);
  size_t count = call_bytes / (words_per_call * sizeof(uint64_t));
  size_t shared_bytes = sizeof(struct shared) + count * sizeof(int64_t);
  struct shared *shared = mmap(NULL, shared_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) fail("mmap");
  struct rlimit no_core = {0, 0};
  if (setrlimit(RLIMIT_CORE, &no_core) < 0) fail("setrlimit");

  pid_t child = fork();
  if (child < 0) fail("fork");
  if (child == 0) probe(programs, program_count, calls, count, shared);
  int status;
  if (waitpid(child, &status, 0) != child) fail("waitpid");
  if (shared->load_errno != 0) {
    errno = shared->load_errno;
    fail("loading the filter");
  }
  if (!shared->done || !WIFSIGNALED(status)) {
    fprintf(stderr, "probe: the child ended early, status 0x%x\n", status);
    return 1;
  }
  int fd = open(argv[2], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  ssize_t size = (ssize_t)(count * sizeof(int64_t));
  if (fd < 0 || write(fd, shared->results, (size_t)size) != size) fail(argv[2]);
  return 0;
}
