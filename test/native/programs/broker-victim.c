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
#include <sys/uio.h>
#include <time.h>
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

// access|faccessat|faccessat2 MODE PATH, unlink|unlinkat 0 PATH.
static void path_call(const char *verb, const char *rest) {
  unsigned mode;
  char path[4200] = "";
  sscanf(rest, "%o %4199s", &mode, path);
  long result = -1;
  if (!strcmp(verb, "access")) result = syscall(SYS_access, path, mode);
  else if (!strcmp(verb, "faccessat")) result = syscall(SYS_faccessat, AT_FDCWD, path, mode);
  else if (!strcmp(verb, "faccessat2")) result = syscall(439, AT_FDCWD, path, mode, AT_EACCESS);
  else if (!strcmp(verb, "unlink")) result = syscall(SYS_unlink, path);
  else result = syscall(SYS_unlinkat, AT_FDCWD, path, mode);
  say("%s", outcome(result));
}

// burst THREADS CALLS PATH: so many threads open the path so often, all at once. How many of the calls worked.
static pthread_barrier_t all_ready;
static atomic_int opened;
static int calls_each;

static void *burst_thread(void *path) {
  pthread_barrier_wait(&all_ready);
  for (int call = 0; call < calls_each; ++call) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) continue;
    atomic_fetch_add(&opened, 1);
    close(fd);
  }
  return NULL;
}

static void burst(const char *rest) {
  int threads;
  char path[4200] = "";
  sscanf(rest, "%d %d %4199s", &threads, &calls_each, path);
  pthread_t *made = calloc(threads, sizeof *made);
  pthread_attr_t small;
  pthread_attr_init(&small);
  pthread_attr_setstacksize(&small, 64 * 1024);
  pthread_barrier_init(&all_ready, NULL, threads);
  for (int index = 0; index < threads; ++index)
    if (pthread_create(&made[index], &small, burst_thread, path) != 0) return say("no thread %d", index);
  for (int index = 0; index < threads; ++index) pthread_join(made[index], NULL);
  free(made);
  say("%d", atomic_load(&opened));
}

// sendto|sendmsg FAMILY TYPE FLAGS HEX: the bytes sent (6 when all), or the errno. sendcontrol: with a control message. sendpeer: HEX is connected to first.
static void send_call(const char *verb, const char *rest) {
  int family, type, flags;
  char hex[300] = "";
  unsigned char address[128];
  sscanf(rest, "%d %d %d %299s", &family, &type, &flags, hex);
  size_t length = from_hex(hex, address);
  int fd = socket(family, type | SOCK_CLOEXEC, 0);
  long result;
  struct iovec parts[2] = {{"hel", 3}, {"lo!", 3}};
  char control[CMSG_SPACE(sizeof(int))] = {0};
  struct msghdr header = {.msg_name = address, .msg_namelen = length, .msg_iov = parts, .msg_iovlen = 2};
  if (!strcmp(verb, "sendpeer")) {
    if (connect(fd, (void *)address, length) < 0) return say("connect %s", strerrorname_np(errno));
    header.msg_name = NULL;
    header.msg_namelen = 0;
  }
  if (!strcmp(verb, "sendcontrol")) {
    header.msg_control = control;
    header.msg_controllen = sizeof control;
    struct cmsghdr *cmsg = CMSG_FIRSTHDR(&header);
    *cmsg = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    memcpy(CMSG_DATA(cmsg), &fd, sizeof fd);
  }
  if (!strcmp(verb, "sendto")) result = syscall(SYS_sendto, fd, "hello!", 6, flags, address, length);
  else result = syscall(SYS_sendmsg, fd, &header, flags);
  if (result < 0) say("%s", strerrorname_np(errno));
  else say("%ld", result);
  close(fd);
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

static void ignore(int signal) { (void)signal; }

static atomic_int storming;
static pthread_t stormed;

static void *shoot(void *unused) {
  // Some time in between, or no call ever gets as far as the broker.
  for (struct timespec pause = {0, 50000}; atomic_load(&storming); nanosleep(&pause, NULL)) pthread_kill(stormed, SIGURG);
  return unused;
}

// storm RESTART BLOCKING COUNT HEX: connects to a unix address under a storm of signals, with or without SA_RESTART. How many succeeded, how many were interrupted, and
// any other errno. The caller counts what arrived.
static void storm(const char *rest) {
  int restart, blocking, count, made = 0, interrupted = 0;
  char hex[300] = "";
  const char *other = "none";
  unsigned char address[128];
  sscanf(rest, "%d %d %d %299s", &restart, &blocking, &count, hex);
  size_t length = from_hex(hex, address);
  struct sigaction action = {.sa_handler = ignore, .sa_flags = restart ? SA_RESTART : 0};
  sigaction(SIGURG, &action, NULL);
  stormed = pthread_self();
  atomic_store(&storming, 1);
  pthread_t other_thread;
  pthread_create(&other_thread, NULL, shoot, NULL);
  for (int index = 0; index < count; ++index) {
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | (blocking ? 0 : SOCK_NONBLOCK), 0);
    if (connect(fd, (void *)address, length) == 0) ++made;
    else if (errno == EINTR) ++interrupted;
    else if (errno != EAGAIN) other = strerrorname_np(errno);
    close(fd);
  }
  atomic_store(&storming, 0);
  pthread_join(other_thread, NULL);
  say("made %d interrupted %d other %s", made, interrupted, other);
}

static int swapped_fd, first_fd, second_fd;
static atomic_int swapping;

static void *swap_fds(void *unused) {
  while (atomic_load(&swapping)) {
    dup2(second_fd, swapped_fd);
    dup2(first_fd, swapped_fd);
  }
  return unused;
}

// swap COUNT HEX: connects while another thread puts a socket of another kind (a unix datagram) under the same number. Says how often the call said ok, and whether
// the other socket ever was connected.
static void swap(const char *rest) {
  int count, made = 0, astray = 0;
  char hex[300] = "";
  unsigned char address[128], name[128];
  sscanf(rest, "%d %299s", &count, hex);
  size_t length = from_hex(hex, address);
  second_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  swapped_fd = fcntl(second_fd, F_DUPFD_CLOEXEC, 100);
  first_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  atomic_store(&swapping, 1);
  pthread_t other;
  pthread_create(&other, NULL, swap_fds, NULL);
  for (int index = 0; index < count; ++index) {
    int fresh = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    dup3(fresh, first_fd, O_CLOEXEC);
    close(fresh);
    long result = connect(swapped_fd, (void *)address, length);
    if (result == 0) ++made;
    socklen_t size = sizeof name;
    if (getpeername(second_fd, (void *)name, &size) == 0) ++astray;
  }
  atomic_store(&swapping, 0);
  pthread_join(other, NULL);
  say("made %d astray %d", made, astray);
  close(swapped_fd);
  close(first_fd);
  close(second_fd);
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
  else if (!strcmp(verb, "access") || !strncmp(verb, "faccessat", 9) || !strncmp(verb, "unlink", 6)) path_call(verb, rest);
  else if (!strncmp(verb, "send", 4)) send_call(verb, rest);
  else if (!strcmp(verb, "storm")) storm(rest);
  else if (!strcmp(verb, "swap")) swap(rest);
  else if (!strcmp(verb, "edge")) edge(rest);
  else if (!strcmp(verb, "race")) race(rest);
  else if (!strcmp(verb, "burst")) burst(rest);
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
    // By the leader itself.
    if (!strncmp(line, "leader ", 7)) {
      run(line + 7);
      continue;
    }
    pthread_t thread;
    pthread_create(&thread, NULL, perform, strdup(line));
    pthread_join(thread, NULL);
  }
  return 0;
}
