// SPDX-License-Identifier: Apache-2.0
// A program whose network and file calls are notified: one command a line on stdin, one answer a line on stdout. Calls are made by a thread that is
// not the leader, as in a VMM. Addresses are raw sockaddr bytes in hexadecimal.
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static pthread_mutex_t output = PTHREAD_MUTEX_INITIALIZER;

static void say(const char *format, ...) {
  va_list values;
  va_start(values, format);
  pthread_mutex_lock(&output);
  vprintf(format, values);
  printf("\n");
  fflush(stdout);
  pthread_mutex_unlock(&output);
  va_end(values);
}

static const char *outcome(long result) { return result < 0 ? strerrorname_np(errno) : "ok"; }

static size_t from_hex(const char *text, unsigned char *bytes) {
  size_t length = 0;
  for (; length < 128 && sscanf(text + 2 * length, "%2hhx", &bytes[length]) == 1; ++length) {}
  return length;
}

// connect|bind FAMILY TYPE PROTOCOL HEX: the outcome, and O_NONBLOCK afterwards. The socket of a bind stays open.
static void socket_call(const char *verb, const char *rest) {
  int family, type, protocol;
  char hex[300] = "";
  unsigned char address[128];
  sscanf(rest, "%d %d %d %299s", &family, &type, &protocol, hex);
  size_t length = from_hex(hex, address);
  int fd = socket(family, type | SOCK_CLOEXEC, protocol);
  if (fd < 0) return say("socket %s", strerrorname_np(errno));
  int bind_wanted = !strcmp(verb, "bind");
  long result = bind_wanted ? bind(fd, (void *)address, length) : connect(fd, (void *)address, length);
  const char *name = outcome(result);
  int flags = fcntl(fd, F_GETFL);
  if (!bind_wanted) close(fd);
  say("%s%s", name, flags & O_NONBLOCK ? " nonblocking" : "");
}

// open|openat|openat2|creat FLAGS(octal) MODE(octal) PATH: the outcome, then F_GETFD and F_GETFL.
static void open_call(const char *verb, const char *rest) {
  unsigned flags, mode;
  char path[4200] = "";
  sscanf(rest, "%o %o %4199s", &flags, &mode, path);
  long fd;
  if (!strcmp(verb, "open")) fd = syscall(SYS_open, path, flags, mode);
  else if (!strcmp(verb, "creat")) fd = syscall(SYS_creat, path, mode);
  else if (!strcmp(verb, "openat2")) {
    struct open_how how = {.flags = flags, .mode = mode};
    fd = syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof how);
  } else fd = syscall(SYS_openat, AT_FDCWD, path, flags, mode);
  if (fd < 0) return say("%s", strerrorname_np(errno));
  int descriptor = fcntl(fd, F_GETFD), status = fcntl(fd, F_GETFL);
  close(fd);
  say("ok cloexec=%d flags=0%o", descriptor, status & (O_ACCMODE | O_NONBLOCK | O_APPEND));
}

// A path that ends with the last byte before an unmapped page.
static void edge(const char *path) {
  char *pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  munmap(pages + 4096, 4096);
  char *at = pages + 4096 - strlen(path) - 1;
  strcpy(at, path);
  long fd = syscall(SYS_openat, AT_FDCWD, at, O_RDONLY, 0);
  say("%s", outcome(fd));
  if (fd >= 0) close(fd);
}

static unsigned char shared_address[128], granted[128], forbidden[128];
static size_t shared_length;
static atomic_int flipping;

static void *flip(void *unused) {
  while (atomic_load(&flipping)) {
    memcpy(shared_address, forbidden, shared_length);
    memcpy(shared_address, granted, shared_length);
  }
  return unused;
}

// race COUNT GRANTED FORBIDDEN: connects while another thread rewrites the address.
static void race(const char *rest) {
  int count, made = 0;
  char first[300], second[300];
  sscanf(rest, "%d %299s %299s", &count, first, second);
  shared_length = from_hex(first, granted);
  from_hex(second, forbidden);
  memcpy(shared_address, granted, shared_length);
  atomic_store(&flipping, 1);
  pthread_t other;
  pthread_create(&other, NULL, flip, NULL);
  for (int index = 0; index < count; ++index) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (void *)shared_address, shared_length) == 0) ++made;
    struct linger reset = {1, 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    close(fd);
  }
  atomic_store(&flipping, 0);
  pthread_join(other, NULL);
  say("made %d", made);
}

// flood COUNT FAMILY HEX: that many connects, and the outcome of the last.
static void flood(const char *rest) {
  int count, family;
  char hex[300];
  unsigned char address[128];
  sscanf(rest, "%d %d %299s", &count, &family, hex);
  size_t length = from_hex(hex, address);
  int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  long result = 0;
  for (int index = 0; index < count; ++index) result = connect(fd, (void *)address, length);
  say("%s", outcome(result));
  close(fd);
}

static void *perform(void *argument);

static void run(char *line) {
  char verb[32] = "";
  sscanf(line, "%31s", verb);
  const char *rest = line + strlen(verb);
  if (*rest == ' ') ++rest;
  if (!strcmp(verb, "connect") || !strcmp(verb, "bind")) socket_call(verb, rest);
  else if (!strncmp(verb, "open", 4) || !strcmp(verb, "creat")) open_call(verb, rest);
  else if (!strcmp(verb, "edge")) edge(rest);
  else if (!strcmp(verb, "race")) race(rest);
  else if (!strcmp(verb, "flood")) flood(rest);
  else if (!strcmp(verb, "ptrace")) say("%s", outcome(ptrace(PTRACE_TRACEME, 0, NULL, NULL)));
  else if (!strcmp(verb, "efault")) say("%s", outcome(syscall(SYS_connect, socket(AF_INET, SOCK_STREAM, 0), 8, 16)));
  else if (!strcmp(verb, "ebadf")) say("%s", outcome(syscall(SYS_connect, 999, "\2\0\0\1\177\0\0\1\0\0\0\0\0\0\0", 16)));
  else if (!strcmp(verb, "enotsock")) say("%s", outcome(syscall(SYS_connect, eventfd(0, 0), "\2\0\0\1\177\0\0\1\0\0\0\0\0\0\0", 16)));
  else if (!strcmp(verb, "meanwhile")) {
    pthread_t thread;
    pthread_create(&thread, NULL, perform, strdup(rest));
    pthread_detach(thread);
  } else say("unknown %s", verb);
}

static void *perform(void *argument) {
  pthread_setname_np(pthread_self(), "worker");
  run(argument);
  free(argument);
  return NULL;
}

int main(void) {
  signal(SIGPIPE, SIG_IGN);
  say("ready");
  char line[8192];
  while (fgets(line, sizeof line, stdin) != NULL) {
    line[strcspn(line, "\n")] = '\0';
    pthread_t thread;
    pthread_create(&thread, NULL, perform, strdup(line));
    pthread_join(thread, NULL);
  }
  return 0;
}
