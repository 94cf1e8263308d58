// SPDX-License-Identifier: Apache-2.0
// What QEMU asks of its C library once the guest runs, one line of output each: "NAME ok" or "NAME ERRNO". argv: a file, a unix socket.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static void told(const char *name, int good) {
  char line[128];
  int length = good ? snprintf(line, sizeof line, "%s ok\n", name)
                    : snprintf(line, sizeof line, "%s %s\n", name, strerror(errno));
  if (write(1, line, length) != length) _exit(1);
}

static volatile sig_atomic_t signals;
static void count(int number) { signals += number == SIGUSR1; }

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int ready;

static void *worker(void *argument) {
  pthread_mutex_lock(&lock);
  ready = 1;
  pthread_cond_signal(&changed);
  pthread_mutex_unlock(&lock);
  while (signals == 0) poll(NULL, 0, 1);
  return argument;
}

static int threads(void) {
  pthread_t thread;
  void *result = NULL;
  if (pthread_create(&thread, NULL, worker, &ready) != 0) return 0;
  struct timespec end;
  clock_gettime(CLOCK_REALTIME, &end);
  end.tv_sec += 30;
  pthread_mutex_lock(&lock);
  while (!ready && pthread_cond_timedwait(&changed, &lock, &end) == 0) continue;
  pthread_mutex_unlock(&lock);
  if (pthread_kill(thread, SIGUSR1) != 0) return 0;
  return pthread_join(thread, &result) == 0 && result == &ready;
}

static int memory(void) {
  char *block = NULL;
  for (size_t size = 100; size < (64u << 20); size *= 3) {
    char *larger = realloc(block, size);
    if (larger == NULL) return 0;
    memset(larger, 7, size);
    block = larger;
  }
  free(block);
  char *pages = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return pages != MAP_FAILED && mprotect(pages, 4096, PROT_NONE) == 0 && madvise(pages + 4096, 4096, MADV_DONTNEED) == 0 &&
         munmap(pages, 65536) == 0;
}

static int file(const char *path) {
  int fd = open(path, O_RDWR | O_CLOEXEC);
  struct stat about;
  char text[4];
  struct iovec parts[2] = {{text, 2}, {text + 2, 2}};
  if (fd < 0 || fstat(fd, &about) != 0 || about.st_size != 4) return 0;
  return pwrite(fd, "abcd", 4, 0) == 4 && preadv(fd, parts, 2, 0) == 4 && memcmp(text, "abcd", 4) == 0 &&
         lseek(fd, 0, SEEK_END) == 4 && fdatasync(fd) == 0 && close(fd) == 0;
}

static int connection(const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  strncpy(address.sun_path, path, sizeof address.sun_path - 1);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  char byte = 'x';
  struct iovec part = {&byte, 1};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
  return fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0 && sendmsg(fd, &message, MSG_NOSIGNAL) == 1 &&
         recvmsg(fd, &message, 0) == 1 && byte == 'y' && close(fd) == 0;
}

static void *nothing(void *argument) { return argument; }

int main(int count_of_arguments, char **arguments) {
  if (count_of_arguments != 3) return 2;
  struct sigaction action = {.sa_handler = count};
  sigaction(SIGUSR1, &action, NULL);
  char byte;
  // The first thread is made while the machine is built: glibc sets up its own signals with it.
  pthread_t first;
  if (pthread_create(&first, NULL, nothing, NULL) != 0 || pthread_join(first, NULL) != 0) return 1;
  told("built", 1);
  // The launcher enters stage `running` and says so.
  if (read(0, &byte, 1) != 1) return 1;
  told("threads", threads());
  told("memory", memory());
  told("file", file(arguments[1]));
  told("connection", connection(arguments[2]));
  told("random", getrandom(&byte, 1, 0) == 1);
  told("sleep", usleep(1000) == 0);
  // A call that no table has, and newer ones that libraries try first: a fallback follows only on ENOSYS.
  told("unknown", syscall(999) == -1 && errno == ENOSYS);
  told("clone3", syscall(SYS_clone3, NULL, 0) == -1 && errno == ENOSYS);
  told("close_range", syscall(SYS_close_range, 900, 901, 0) == -1 && errno == ENOSYS);
  told("execve", execl("/bin/true", "true", (char *)NULL) == -1 && errno == EACCES);
  told("done", 1);
  return 0;
}
