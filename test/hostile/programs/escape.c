// SPDX-License-Identifier: Apache-2.0
// A VMM that has been taken over. Reads one attempt a line, "NAME [NUMBER [NUMBER]]", makes it, and says "ERRNO-NAME", or "= RESULT" when the
// kernel let it happen. Everything is a raw system call: nothing of the C library stands between the attempt and the filter.
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

static long result_of(long value) { return value == -1 ? -errno : value; }
#define CALL(...) result_of(syscall(__VA_ARGS__))
#define P(x) ((unsigned long)(x))

static long first, second;  // The numbers of the command.
static char memory[4096] __attribute__((aligned(4096)));
static char *const no_strings[] = {NULL};
static const unsigned long high = 0xdeadbeef00000000UL;

// Three descriptors that the attempts share, made once.
static int tcp_fd, unix_fd, memory_fd;

static int tcp(void) { return (int)syscall(SYS_socket, AF_INET, SOCK_STREAM, 0); }

static struct sockaddr_in ip4(unsigned short port) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
  return address;
}

static long finish(int fd, long result) {
  syscall(SYS_close, fd);
  return result;
}

static long connect_bytes(int domain, const void *bytes, long length) {
  const int fd = (int)syscall(SYS_socket, domain, SOCK_STREAM, 0);
  return finish(fd, CALL(SYS_connect, fd, bytes, length));
}

static long bind_bytes(int domain, const void *bytes, long length) {
  const int fd = (int)syscall(SYS_socket, domain, SOCK_STREAM, 0);
  return finish(fd, CALL(SYS_bind, fd, bytes, length));
}

static struct sockaddr_in6 ip6(const char *text, unsigned short port) {
  struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
  inet_pton(AF_INET6, text, &address.sin6_addr);
  return address;
}

static long connect_ip6(const char *text) {
  const struct sockaddr_in6 address = ip6(text, (unsigned short)first);
  return connect_bytes(AF_INET6, &address, sizeof address);
}

static long connect_unix(const char *path, size_t length) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  memcpy(address.sun_path, path, length);
  return connect_bytes(AF_UNIX, &address, (long)(offsetof(struct sockaddr_un, sun_path) + length));
}

static long clone_with(unsigned long flags) { return CALL(SYS_clone, flags, 0, 0, 0, 0); }

#define THREAD (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM)

// --- races

static volatile int racing;
static struct sockaddr_in raced;

static void *swap_ports(void *unused) {
  (void)unused;
  while (racing) {
    *(volatile unsigned short *)&raced.sin_port = htons((unsigned short)first);
    *(volatile unsigned short *)&raced.sin_port = htons((unsigned short)second);
  }
  return NULL;
}

/// Connections that reached the second port while the first alone is granted.
static long race_sockaddr(void) {
  raced = ip4((unsigned short)first);
  racing = 1;
  pthread_t thread;
  pthread_create(&thread, NULL, swap_ports, NULL);
  long reached = 0;
  for (int turn = 0; turn < 1500; turn++) {
    const int fd = tcp();
    if (syscall(SYS_connect, fd, &raced, sizeof raced) == 0) {
      struct sockaddr_in peer;
      socklen_t length = sizeof peer;
      if (syscall(SYS_getpeername, fd, &peer, &length) == 0 && ntohs(peer.sin_port) == second) reached++;
    }
    syscall(SYS_close, fd);
  }
  racing = 0;
  pthread_join(thread, NULL);
  return reached;
}

static int toggled_fd, toggled_fds[16];

static void *toggle_blocking(void *unused) {
  (void)unused;
  while (racing) {
    for (int index = 0; index < 16; index++) syscall(SYS_fcntl, toggled_fds[index], F_SETFL, O_RDWR | O_NONBLOCK);
    for (int index = 0; index < 16; index++) syscall(SYS_fcntl, toggled_fds[index], F_SETFL, O_RDWR);
  }
  return NULL;
}

static void *connect_to_full(void *fd) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  snprintf(address.sun_path, sizeof address.sun_path, "/tmp/ratchet-escape-%ld", first);
  while (racing) syscall(SYS_connect, *(int *)fd, &address, sizeof address);
  return NULL;
}

/// Connects to a listener whose queue is full, while a thread of ours takes O_NONBLOCK away from under the broker. Goes on by itself.
static long race_blocking(void) {
  pthread_t thread;
  racing = 1;
  for (int index = 0; index < 16; index++) {
    toggled_fds[index] = (int)syscall(SYS_socket, AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    pthread_create(&thread, NULL, connect_to_full, &toggled_fds[index]);
  }
  pthread_create(&thread, NULL, toggle_blocking, NULL);
  return 0;
}

static void *toggle_v6only(void *unused) {
  (void)unused;
  const int on = 1, off = 0;
  while (racing) {
    syscall(SYS_setsockopt, toggled_fd, IPPROTO_IPV6, 26, &on, sizeof on);
    syscall(SYS_setsockopt, toggled_fd, IPPROTO_IPV6, 26, &off, sizeof off);
  }
  return NULL;
}

/// Listens on [::], which is granted, until the socket takes IPv4's port too, which is not. How often that worked.
static long race_v6only(void) {
  const struct sockaddr_in6 any = ip6("::", (unsigned short)first);
  long dual = 0;
  for (int turn = 0; turn < 1500; turn++) {
    const int on = 1;
    toggled_fd = (int)syscall(SYS_socket, AF_INET6, SOCK_STREAM, 0);
    syscall(SYS_setsockopt, toggled_fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    syscall(SYS_setsockopt, toggled_fd, IPPROTO_IPV6, 26, &on, sizeof on);
    racing = 1;
    pthread_t thread;
    pthread_create(&thread, NULL, toggle_v6only, NULL);
    const long bound = CALL(SYS_bind, toggled_fd, &any, sizeof any);
    racing = 0;
    pthread_join(thread, NULL);
    int only = 1;
    socklen_t length = sizeof only;
    syscall(SYS_getsockopt, toggled_fd, IPPROTO_IPV6, 26, &only, &length);
    if (bound == 0 && only == 0 && syscall(SYS_listen, toggled_fd, 1) == 0) dual++;
    syscall(SYS_close, toggled_fd);
  }
  return dual;
}

static void *end_at_once(void *unused) {
  (void)unused;
  syscall(SYS_exit, 0);
  return NULL;
}

/// Threads that ask the broker and are gone: killed in the wait by nobody but the end of the racing main thread's patience.
static void *open_and_end(void *unused) {
  (void)unused;
  syscall(SYS_openat, AT_FDCWD, "/etc/shadow", O_RDONLY, 0);
  syscall(SYS_exit, 0);
  return NULL;
}

static long many_threads(void *(*body)(void *)) {
  pthread_t threads[64];
  for (int turn = 0; turn < 8; turn++) {
    for (int index = 0; index < 64; index++) pthread_create(&threads[index], NULL, body, NULL);
    for (int index = 0; index < 64; index++) pthread_join(threads[index], NULL);
  }
  return 0;
}

static long flood(void) {
  for (int turn = 0; turn < 5000; turn++) {
    const long result = CALL(SYS_openat, AT_FDCWD, "/etc/shadow", O_RDONLY, 0);
    if (result != -EACCES) return result;
  }
  return -EACCES;
}

static long fill_descriptors(void) {
  int last = 0;
  while ((last = (int)syscall(SYS_fcntl, 0, F_DUPFD, 3)) >= 0) continue;
  const long result = CALL(SYS_openat, AT_FDCWD, "/dev/null", O_RDONLY, 0);
  syscall(SYS_close, 100);
  const long after = CALL(SYS_openat, AT_FDCWD, "/dev/null", O_RDONLY, 0);
  for (int fd = 100; fd < 16384; fd++) syscall(SYS_close, fd);
  return after == 100 ? result : -EPROTO;
}

static void ignore(int number) { (void)number; }

static void *storm(void *target) {
  while (racing) syscall(SYS_tgkill, getpid(), *(int *)target, SIGUSR1);
  return NULL;
}

/// Connects while signals interrupt it, without and with SA_RESTART. The number of connections that came about.
static long signal_storm(void) {
  long connected = 0;
  for (int restart = 0; restart < 2; restart++) {
    struct sigaction action = {.sa_handler = ignore, .sa_flags = restart ? SA_RESTART : 0};
    sigaction(SIGUSR1, &action, NULL);
    int self = (int)syscall(SYS_gettid);
    racing = 1;
    pthread_t thread;
    pthread_create(&thread, NULL, storm, &self);
    for (int turn = 0; turn < 50; turn++) {
      const struct sockaddr_in address = ip4((unsigned short)first);
      const int fd = tcp();
      const long result = CALL(SYS_connect, fd, &address, sizeof address);
      if (result == 0 || result == -EISCONN) connected++;
      syscall(SYS_close, fd);
    }
    racing = 0;
    pthread_join(thread, NULL);
  }
  return connected;
}

// --- other machines

/// The 32-bit entry: getpid is 20 there.
static long int80(void) {
  long result;
  __asm__ volatile("int $0x80" : "=a"(result) : "a"(20) : "memory", "r8", "r9", "r10", "r11");
  return result;
}

static long own_filter(unsigned long operation, unsigned long flags, unsigned int action) {
  struct {
    unsigned short code;
    unsigned char jt, jf;
    unsigned int k;
  } program[] = {{0x06, 0, 0, action}};
  struct {
    unsigned short length;
    void *filter;
  } header = {1, program};
  return CALL(SYS_seccomp, operation, flags, &header);
}

static long message(int fd, const void *address, unsigned length, unsigned long flags) {
  struct iovec data = {"x", 1};
  struct msghdr header = {.msg_name = (void *)address, .msg_namelen = length, .msg_iov = &data, .msg_iovlen = 1};
  return CALL(SYS_sendmsg, fd, &header, flags);
}

static long set_option(int fd, int level, int name) {
  const int one = 1;
  return CALL(SYS_setsockopt, fd, level, name, &one, sizeof one);
}

/// On all interfaces, at a port that the kernel picks: listen(2) binds a socket that was never bound.
static long listen_unbound(int domain) {
  const int fd = (int)syscall(SYS_socket, domain, SOCK_STREAM, 0);
  return finish(fd, CALL(SYS_listen, fd, 1));
}

static long listen_bound(void) {
  const struct sockaddr_in address = ip4((unsigned short)first);
  const int fd = tcp();
  const int one = 1;
  syscall(SYS_setsockopt, fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  const long bound = CALL(SYS_bind, fd, &address, sizeof address);
  return finish(fd, bound < 0 ? bound : CALL(SYS_listen, fd, 1));
}

static long open_and_close(const char *path) {
  const long fd = CALL(SYS_openat, AT_FDCWD, path, O_RDWR, 0);
  return fd < 0 ? fd : finish((int)fd, 0);
}

static long socket_of(int domain, int type, int protocol) {
  const long fd = CALL(SYS_socket, domain, type, protocol);
  if (fd >= 0) syscall(SYS_close, (int)fd);
  return fd;
}

static long openat2_of(const char *path, unsigned long flags, size_t size) {
  const unsigned long how[4] = {flags, 0, 0, 1};
  return CALL(SYS_openat2, AT_FDCWD, path, how, size);
}


#define ATTEMPTS(X)                                                                                              \
  /* programs */                                                                                                 \
  X(execve, CALL(SYS_execve, "/bin/true", no_strings, no_strings))                                               \
  X(execveat-cwd, CALL(SYS_execveat, AT_FDCWD, "/bin/true", no_strings, no_strings, 0))                          \
  X(execveat-place, CALL(SYS_execveat, 16383, "", no_strings, no_strings, AT_EMPTY_PATH))                        \
  X(execveat-place-absolute, CALL(SYS_execveat, 16383, "/bin/true", no_strings, no_strings, AT_EMPTY_PATH))      \
  X(execveat-place-high, CALL(SYS_execveat, high | 16383, "/bin/true", no_strings, no_strings, AT_EMPTY_PATH))   \
  X(execveat-memory, CALL(SYS_execveat, memory_fd, "", no_strings, no_strings, AT_EMPTY_PATH))                   \
  X(fork, CALL(SYS_fork))                                                                                        \
  X(vfork, CALL(SYS_vfork))                                                                                      \
  X(clone-fork, clone_with(SIGCHLD))                                                                             \
  X(clone-vfork, clone_with(CLONE_VM | CLONE_VFORK | SIGCHLD))                                                   \
  X(clone-vm, clone_with(CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND))                                     \
  X(clone-thread-own-files, clone_with(THREAD & ~(unsigned long)CLONE_FILES))                                    \
  X(clone-thread-newns, clone_with(THREAD | CLONE_NEWNS))                                                        \
  X(clone-thread-untraced, clone_with(THREAD | CLONE_UNTRACED))                                                  \
  X(clone-thread-ptrace, clone_with(THREAD | CLONE_PTRACE))                                                      \
  X(clone-thread-parent, clone_with(THREAD | CLONE_PARENT))                                                      \
  X(clone-thread-io, clone_with(THREAD | CLONE_IO))                                                              \
  X(clone-thread-signal, clone_with(THREAD | SIGKILL))                                                           \
  X(clone-newuser, clone_with(CLONE_NEWUSER | SIGCHLD))                                                          \
  X(clone-newnet, clone_with(CLONE_NEWNET | SIGCHLD))                                                            \
  X(clone-newpid, clone_with(CLONE_NEWPID | SIGCHLD))                                                            \
  X(clone-pidfd, clone_with(CLONE_PIDFD | SIGCHLD))                                                              \
  X(clone-high, clone_with(high | SIGCHLD))                                                                      \
  X(clone3, CALL(SYS_clone3, memory, 64))                                                                        \
  X(unshare-user, CALL(SYS_unshare, CLONE_NEWUSER))                                                              \
  X(unshare-files, CALL(SYS_unshare, CLONE_FILES))                                                               \
  X(setns, CALL(SYS_setns, 0, 0))                                                                                \
  /* the place of the one program, and the limit that keeps it empty */                                          \
  X(dup2-place, CALL(SYS_dup2, 0, 16383))                                                                        \
  X(dup3-place, CALL(SYS_dup3, 0, 16383, 0))                                                                     \
  X(dupfd-place, CALL(SYS_fcntl, 0, F_DUPFD, 16383))                                                             \
  X(dupfd-cloexec-place, CALL(SYS_fcntl, 0, F_DUPFD_CLOEXEC, 16383))                                             \
  X(prlimit-raise, CALL(SYS_prlimit64, 0, RLIMIT_NOFILE_, memory, 0))                                            \
  X(prlimit-high, CALL(SYS_prlimit64, 0, RLIMIT_NOFILE_, 0x100000000UL, 0))                                      \
  X(setrlimit, CALL(SYS_setrlimit, RLIMIT_NOFILE_, memory))                                                      \
  /* files */                                                                                                    \
  X(open, CALL(SYS_open, "/etc/shadow", O_RDONLY))                                                               \
  X(openat, CALL(SYS_openat, AT_FDCWD, "/etc/shadow", O_RDONLY, 0))                                              \
  X(openat-self-mem, CALL(SYS_openat, AT_FDCWD, "/proc/self/mem", O_RDWR, 0))                                    \
  X(openat-relative, CALL(SYS_openat, AT_FDCWD, "etc/shadow", O_RDONLY, 0))                                      \
  X(openat-held, CALL(SYS_openat, 1, "/etc/shadow", O_RDONLY, 0))                                                \
  X(openat-dots, CALL(SYS_openat, AT_FDCWD, "/dev/null/../../etc/shadow", O_RDONLY, 0))                          \
  X(openat-dots-under-grant, CALL(SYS_openat, AT_FDCWD, "/usr/share/zoneinfo/../../../etc/shadow", O_RDONLY, 0)) \
  X(openat-write-readonly, CALL(SYS_openat, AT_FDCWD, "/etc/localtime", O_WRONLY, 0))                            \
  X(openat-create-under-grant, CALL(SYS_openat, AT_FDCWD, "/usr/share/zoneinfo/x", O_CREAT, 0666))               \
  X(openat-truncate-readonly, CALL(SYS_openat, AT_FDCWD, "/dev/urandom", O_TRUNC, 0))                            \
  X(openat-path-only, CALL(SYS_openat, AT_FDCWD, "/dev/null", O_PATH, 0))                                        \
  X(openat-tmpfile, CALL(SYS_openat, AT_FDCWD, "/tmp", O_TMPFILE | O_RDWR, 0600))                                \
  X(openat-bad-pointer, CALL(SYS_openat, AT_FDCWD, 1, O_RDONLY, 0))                                              \
  X(openat-kernel-pointer, CALL(SYS_openat, AT_FDCWD, 0xffffffff81000000UL, O_RDONLY, 0))                        \
  X(openat-access-3, CALL(SYS_openat, AT_FDCWD, "/dev/null", 3, 0))                                              \
  X(openat2, openat2_of("/etc/shadow", O_RDONLY, 24))                                                            \
  X(openat2-longer, openat2_of("/dev/null", O_RDONLY, 32))                                                       \
  X(openat2-high-flags, openat2_of("/dev/null", high, 24))                                                       \
  X(creat, CALL(SYS_creat, "/tmp/ratchet-escape-file", 0600))                                                    \
  X(open-by-handle, CALL(SYS_open_by_handle_at, AT_FDCWD, memory, O_RDONLY))                                     \
  X(name-to-handle, CALL(SYS_name_to_handle_at, AT_FDCWD, "/etc", memory, memory + 64, 0))                       \
  X(unlink, CALL(SYS_unlink, "/tmp/ratchet-escape-file"))                                                        \
  X(unlinkat, CALL(SYS_unlinkat, AT_FDCWD, "/tmp/ratchet-escape-file", 0))                                       \
  X(rename, CALL(SYS_rename, "/tmp/a", "/tmp/b"))                                                                \
  X(renameat2, CALL(SYS_renameat2, AT_FDCWD, "/tmp/a", AT_FDCWD, "/tmp/b", 0))                                   \
  X(mkdir, CALL(SYS_mkdir, "/tmp/ratchet-escape-dir", 0700))                                                     \
  X(mkdirat, CALL(SYS_mkdirat, AT_FDCWD, "/tmp/ratchet-escape-dir", 0700))                                       \
  X(mknod, CALL(SYS_mknod, "/tmp/ratchet-escape-dir", 0, 0))                                                     \
  X(symlink, CALL(SYS_symlink, "/etc", "/tmp/ratchet-escape-dir"))                                               \
  X(link, CALL(SYS_link, "/etc/shadow", "/tmp/ratchet-escape-dir"))                                              \
  X(linkat-fd, CALL(SYS_linkat, memory_fd, "", AT_FDCWD, "/tmp/ratchet-escape-dir", AT_EMPTY_PATH))              \
  X(chmod, CALL(SYS_chmod, "/tmp", 0777))                                                                        \
  X(fchmod, CALL(SYS_fchmod, 0, 0777))                                                                           \
  X(chown, CALL(SYS_chown, "/tmp", 0, 0))                                                                        \
  X(truncate, CALL(SYS_truncate, "/tmp/a", 0))                                                                   \
  X(utimensat, CALL(SYS_utimensat, AT_FDCWD, "/tmp", 0, 0))                                                      \
  X(setxattr, CALL(SYS_setxattr, "/tmp", "user.a", memory, 1, 0))                                                \
  X(stat, CALL(SYS_stat, "/etc", memory))                                                                        \
  X(newfstatat-path, CALL(SYS_newfstatat, AT_FDCWD, "/etc", memory, 0))                                          \
  X(statx, CALL(SYS_statx, AT_FDCWD, "/etc", 0, 0, memory))                                                      \
  X(access, CALL(SYS_access, "/etc", 0))                                                                         \
  X(readlink, CALL(SYS_readlink, "/proc/self/exe", memory, 64))                                                  \
  X(getdents, CALL(SYS_getdents64, 0, memory, 64))                                                               \
  X(chdir, CALL(SYS_chdir, "/"))                                                                                 \
  X(fchdir, CALL(SYS_fchdir, 0))                                                                                 \
  X(chroot, CALL(SYS_chroot, "/"))                                                                               \
  X(inotify, CALL(SYS_inotify_init1, 0))                                                                         \
  X(fanotify, CALL(SYS_fanotify_init, 0, 0))                                                                     \
  X(memfd-secret, CALL(SYS_memfd_secret, 0))                                                                     \
  X(sendfile, CALL(SYS_sendfile, 1, 0, 0, 1))                                                                    \
  X(splice, CALL(SYS_splice, 0, 0, 1, 0, 1, 0))                                                                  \
  X(io-uring-setup, CALL(SYS_io_uring_setup, 8, memory))                                                         \
  X(io-uring-enter, CALL(SYS_io_uring_enter, 0, 1, 0, 0, 0, 0))                                                  \
  X(io-setup, CALL(SYS_io_setup, 1, memory))                                                                     \
  X(userfaultfd, CALL(SYS_userfaultfd, 0))                                                                       \
  X(newest-call, CALL(470, 0, 0, 0))                                                                             \
  X(above-table, CALL(5000))                                                                                     \
  X(far-above-table, CALL(0x3fffffff))                                                                           \
  X(negative-number, CALL(-1))                                                                                   \
  /* code */                                                                                                     \
  X(mmap-exec, CALL(SYS_mmap, 0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))               \
  X(mmap-exec-high, CALL(SYS_mmap, 0, 4096, high | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))               \
  X(mmap-exec-memory, CALL(SYS_mmap, 0, 4096, PROT_EXEC, MAP_SHARED, memory_fd, 0))                              \
  X(mprotect-exec, CALL(SYS_mprotect, memory, 4096, PROT_READ | PROT_EXEC))                                      \
  X(pkey-mprotect-exec, CALL(SYS_pkey_mprotect, memory, 4096, PROT_READ | PROT_EXEC, -1))                        \
  X(shmget, CALL(SYS_shmget, 0, 4096, 0600))                                                                     \
  X(shmat-exec, CALL(SYS_shmat, 0, 0, 0100000))                                                                  \
  X(remap-file-pages, CALL(SYS_remap_file_pages, memory, 4096, 0, 0, 0))                                         \
  X(personality, CALL(SYS_personality, 0x0400000))                                                               \
  X(personality-query, CALL(SYS_personality, 0xffffffffUL))                                                      \
  X(arch-prctl, CALL(SYS_arch_prctl, 0x1002, memory))                                                            \
  X(modify-ldt, CALL(SYS_modify_ldt, 0, memory, 16))                                                             \
  X(bpf, CALL(SYS_bpf, 0, memory, 64))                                                                           \
  X(perf-event-open, CALL(SYS_perf_event_open, memory, 0, -1, -1, 0))                                            \
  X(keyctl, CALL(SYS_keyctl, 0, 0, 0, 0, 0))                                                                     \
  X(add-key, CALL(SYS_add_key, "user", "a", memory, 1, -3))                                                      \
  X(seccomp-listener, own_filter(1, 8, 0x7fff0000))                                                              \
  X(seccomp-tsync-listener, own_filter(1, 1 | 8 | 16, 0x7fff0000))                                               \
  X(seccomp-plain, own_filter(1, 0, 0x7fff0000))                                                                 \
  X(seccomp-log, own_filter(1, 1 | 2, 0x7fff0000))                                                               \
  X(seccomp-spec-allow, own_filter(1, 1 | 4, 0x7fff0000))                                                        \
  X(seccomp-strict, CALL(SYS_seccomp, 0, 0, 0))                                                                  \
  X(seccomp-sizes, CALL(SYS_seccomp, 3, 0, memory))                                                              \
  X(seccomp-own, own_filter(1, 1, 0x7fff0000))                                                                   \
  /* other processes */                                                                                          \
  X(ptrace, CALL(SYS_ptrace, PTRACE_SEIZE, first, 0, 0))                                                         \
  X(process-vm-readv, CALL(SYS_process_vm_readv, first, memory, 1, memory, 1, 0))                                \
  X(process-vm-writev, CALL(SYS_process_vm_writev, first, memory, 1, memory, 1, 0))                              \
  X(process-madvise, CALL(SYS_process_madvise, 0, memory, 1, 4, 0))                                              \
  X(pidfd-open, CALL(SYS_pidfd_open, first, 0))                                                                  \
  X(pidfd-getfd, CALL(SYS_pidfd_getfd, 0, 3, 0))                                                                 \
  X(pidfd-send-signal, CALL(SYS_pidfd_send_signal, 0, 9, 0, 0))                                                  \
  X(kcmp, CALL(SYS_kcmp, first, first, 0, 0, 0))                                                                 \
  X(kill, CALL(SYS_kill, first, 0))                                                                              \
  X(kill-all, CALL(SYS_kill, -1, 0))                                                                             \
  X(tkill, CALL(SYS_tkill, first, 0))                                                                            \
  X(tgkill, CALL(SYS_tgkill, first, first, second))                                                              \
  X(tgkill-self, CALL(SYS_tgkill, getpid(), getpid(), 0))                                                        \
  X(rt-sigqueueinfo, CALL(SYS_rt_sigqueueinfo, first, 9, memory))                                                \
  X(rt-tgsigqueueinfo, CALL(SYS_rt_tgsigqueueinfo, first, first, 9, memory))                                     \
  X(sched-setaffinity, CALL(SYS_sched_setaffinity, first, 8, memory))                                            \
  X(sched-setscheduler, CALL(SYS_sched_setscheduler, first, 0, memory))                                          \
  X(setpriority, CALL(SYS_setpriority, 0, first, 19))                                                            \
  X(migrate-pages, CALL(SYS_migrate_pages, first, 64, memory, memory))                                           \
  X(timer-create, CALL(SYS_timer_create, 0, 0, memory))                                                          \
  X(setitimer, CALL(SYS_setitimer, 0, memory, 0))                                                                \
  X(setsid, CALL(SYS_setsid))                                                                                    \
  X(setpgid, CALL(SYS_setpgid, 0, 0))                                                                            \
  X(setuid, CALL(SYS_setuid, 0))                                                                                 \
  X(capset, CALL(SYS_capset, memory, memory))                                                                    \
  X(wait4, CALL(SYS_wait4, -1, 0, 1, 0))                                                                         \
  /* prctl */                                                                                                    \
  X(prctl-dumpable, CALL(SYS_prctl, PR_SET_DUMPABLE, 0, 0, 0, 0))                                                \
  X(prctl-ptracer, CALL(SYS_prctl, 0x59616d61, -1UL, 0, 0, 0))                                                   \
  X(prctl-mm, CALL(SYS_prctl, PR_SET_MM, 1, 0, 0, 0))                                                            \
  X(prctl-tsc, CALL(SYS_prctl, PR_SET_TSC, 1, 0, 0, 0))                                                          \
  X(prctl-pdeathsig, CALL(SYS_prctl, PR_SET_PDEATHSIG, 0, 0, 0, 0))                                              \
  X(prctl-seccomp, CALL(SYS_prctl, PR_SET_SECCOMP, 2, memory, 0, 0))                                             \
  X(prctl-capbset, CALL(SYS_prctl, PR_CAPBSET_READ, 1, 0, 0, 0))                                                 \
  X(prctl-subreaper, CALL(SYS_prctl, PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))                                        \
  X(prctl-dispatch, CALL(SYS_prctl, 59, 1, 0, 0, 0))                                                             \
  X(prctl-keepcaps, CALL(SYS_prctl, PR_SET_KEEPCAPS, 1, 0, 0, 0))                                                \
  X(prctl-speculation, CALL(SYS_prctl, 53, 0, 2, 0, 0))                                                          \
  /* descriptors */                                                                                              \
  X(ioctl-tiocsti, CALL(SYS_ioctl, 0, TIOCSTI, memory))                                                          \
  X(ioctl-tiocsti-high, CALL(SYS_ioctl, 0, high | TIOCSTI, memory))                                              \
  X(ioctl-tioclinux, CALL(SYS_ioctl, 0, TIOCLINUX, memory))                                                      \
  X(ioctl-tiocsetd, CALL(SYS_ioctl, 0, TIOCSETD, memory))                                                        \
  X(ioctl-tiocsctty, CALL(SYS_ioctl, 0, TIOCSCTTY, 1))                                                           \
  X(ioctl-fiosetown, CALL(SYS_ioctl, tcp_fd, FIOSETOWN, memory))                                                 \
  X(ioctl-siocspgrp, CALL(SYS_ioctl, tcp_fd, SIOCSPGRP, memory))                                                 \
  X(ioctl-siocgifconf, CALL(SYS_ioctl, tcp_fd, SIOCGIFCONF, memory))                                             \
  X(ioctl-siocsifflags, CALL(SYS_ioctl, tcp_fd, SIOCSIFFLAGS, memory))                                           \
  X(ioctl-fioasync, CALL(SYS_ioctl, tcp_fd, FIOASYNC, memory))                                                   \
  X(ioctl-ficlone, CALL(SYS_ioctl, memory_fd, 0x40049409, memory_fd))                                            \
  X(ioctl-sg-io, CALL(SYS_ioctl, 0, 0x2285, memory))                                                             \
  X(ioctl-kvm-create-vm, CALL(SYS_ioctl, 0, 0xae01, 0))                                                          \
  X(ioctl-tunsetiff, CALL(SYS_ioctl, 0, 0x400454ca, memory))                                                     \
  X(fcntl-setown, CALL(SYS_fcntl, tcp_fd, F_SETOWN, first))                                                      \
  X(fcntl-setown-ex, CALL(SYS_fcntl, tcp_fd, F_SETOWN_EX, memory))                                               \
  X(fcntl-setsig, CALL(SYS_fcntl, tcp_fd, F_SETSIG, 9))                                                          \
  X(fcntl-notify, CALL(SYS_fcntl, 0, F_NOTIFY, 1))                                                               \
  X(fcntl-setlease, CALL(SYS_fcntl, memory_fd, F_SETLEASE, 1))                                                   \
  X(fcntl-rw-hint, CALL(SYS_fcntl, memory_fd, 1036, memory))                                                     \
  X(fcntl-high, CALL(SYS_fcntl, tcp_fd, high | F_SETOWN, first))                                                 \
  /* sockets */                                                                                                  \
  X(socket-packet, socket_of(AF_PACKET, SOCK_RAW, 0))                                                            \
  X(socket-raw, socket_of(AF_INET, SOCK_RAW, IPPROTO_RAW))                                                       \
  X(socket-udp, socket_of(AF_INET, SOCK_DGRAM, 0))                                                               \
  X(socket-udp-high, socket_of(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, IPPROTO_UDP))                                \
  X(socket-unix-dgram, socket_of(AF_UNIX, SOCK_DGRAM, 0))                                                        \
  X(socket-unix-seqpacket, socket_of(AF_UNIX, SOCK_SEQPACKET, 0))                                                \
  X(socket-alg, socket_of(AF_ALG, SOCK_SEQPACKET, 0))                                                            \
  X(socket-vsock, socket_of(AF_VSOCK, SOCK_STREAM, 0))                                                           \
  X(socket-mptcp, socket_of(AF_INET, SOCK_STREAM, 262))                                                          \
  X(socket-sctp, socket_of(AF_INET, SOCK_STREAM, 132))                                                           \
  X(socket-smc, socket_of(43, SOCK_STREAM, 0))                                                                   \
  X(socket-bluetooth, socket_of(AF_BLUETOOTH, SOCK_RAW, 1))                                                      \
  X(socket-netfilter, socket_of(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER))                                        \
  X(socket-uevent, socket_of(AF_NETLINK, SOCK_RAW, NETLINK_KOBJECT_UEVENT))                                      \
  X(socket-audit, socket_of(AF_NETLINK, SOCK_RAW, NETLINK_AUDIT))                                                \
  X(socket-diag, socket_of(AF_NETLINK, SOCK_RAW, 4))                                                             \
  X(socket-route-dgram, socket_of(AF_NETLINK, SOCK_DGRAM, NETLINK_ROUTE))                                        \
  X(socket-old-packet, socket_of(AF_INET, 10, 0))                                                                \
  X(socket-type-garbage, socket_of(AF_INET, SOCK_STREAM | 0x100, 0))                                             \
  X(socketpair-dgram, CALL(SYS_socketpair, AF_UNIX, SOCK_DGRAM, 0, memory))                                      \
  X(socketpair-seqpacket, CALL(SYS_socketpair, AF_UNIX, SOCK_SEQPACKET, 0, memory))                              \
  X(accept, CALL(SYS_accept, tcp_fd, 0, 0))                                                                      \
  X(connect-ungranted, connect_bytes(AF_INET, &(struct sockaddr_in){AF_INET, htons(1), {htonl(0x7f000001)}, {0}}, 16)) \
  X(connect-metadata, connect_bytes(AF_INET, &(struct sockaddr_in){AF_INET, htons(80), {htonl(0xa9fea9fe)}, {0}}, 16)) \
  X(connect-any-as-loopback, connect_bytes(AF_INET, &(struct sockaddr_in){AF_INET, htons((unsigned short)first), {0}, {0}}, 16)) \
  X(connect-mapped-granted, connect_ip6("::ffff:127.0.0.1"))                                                     \
  X(connect-mapped-other, connect_ip6("::ffff:127.0.0.2"))                                                       \
  X(connect-compatible, connect_ip6("::127.0.0.1"))                                                              \
  X(connect-v6-loopback, connect_ip6("::1"))                                                                     \
  X(connect-nat64, connect_ip6("64:ff9b::7f00:1"))                                                               \
  X(connect-unspec, connect_bytes(AF_INET, &(struct sockaddr_in){AF_UNSPEC, htons((unsigned short)first), {htonl(0x7f000001)}, {0}}, 16)) \
  X(connect-wrong-family, connect_bytes(AF_INET, &(struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons((unsigned short)first), .sin6_addr = IN6ADDR_LOOPBACK_INIT}, 28)) \
  X(connect-short, connect_bytes(AF_INET, &(struct sockaddr_in){AF_INET, htons((unsigned short)first), {htonl(0x7f000001)}, {0}}, 8)) \
  X(connect-odd-length, connect_bytes(AF_INET, &(struct sockaddr_in){AF_INET, htons((unsigned short)first), {htonl(0x7f000001)}, {0}}, 17)) \
  X(connect-long, connect_bytes(AF_INET, memory, 129))                                                           \
  X(connect-huge, connect_bytes(AF_INET, memory, 0x7fffffff))                                                    \
  X(connect-negative, connect_bytes(AF_INET, memory, -1))                                                        \
  X(connect-empty, connect_bytes(AF_INET, memory, 0))                                                            \
  X(connect-high-length, connect_bytes(AF_INET, &(struct sockaddr_in){AF_INET, htons(1), {htonl(0x7f000001)}, {0}}, (long)(high | 16))) \
  X(connect-bad-pointer, connect_bytes(AF_INET, (void *)8, 16))                                                  \
  X(connect-unix, connect_unix("/run/systemd/private", 21))                                                      \
  X(connect-unix-relative, connect_unix("run/a", 6))                                                             \
  X(connect-unix-dots, connect_unix("/run/../run/a", 14))                                                        \
  X(connect-abstract, connect_unix("\0bus", 4))                                                                  \
  X(connect-abstract-empty, connect_unix("\0", 1))                                                               \
  X(connect-unix-unnamed, connect_unix("", 0))                                                                   \
  X(connect-not-a-socket, CALL(SYS_connect, memory_fd, memory, 16))                                              \
  X(connect-no-fd, CALL(SYS_connect, 9999, memory, 16))                                                          \
  X(bind-ungranted, bind_bytes(AF_INET, &(struct sockaddr_in){AF_INET, htons(1), {htonl(0x7f000001)}, {0}}, 16)) \
  X(bind-any-port, bind_bytes(AF_INET, &(struct sockaddr_in){AF_INET, 0, {0}, {0}}, 16))                         \
  X(bind-unspec, bind_bytes(AF_INET, &(struct sockaddr_in){AF_UNSPEC, 0, {0}, {0}}, 16))                         \
  X(bind-unix, bind_bytes(AF_UNIX, "\1\0/tmp/ratchet-escape-socket", 30))                                        \
  X(bind-autobind, bind_bytes(AF_UNIX, "\1\0", 2))                                                               \
  X(bind-abstract, bind_bytes(AF_UNIX, "\1\0\0name", 7))                                                         \
  X(listen-unbound, listen_unbound(AF_INET))                                                                     \
  X(listen-unbound-6, listen_unbound(AF_INET6))                                                                  \
  X(listen-unbound-unix, listen_unbound(AF_UNIX))                                                                \
  X(listen-bound, listen_bound())                                                                                \
  X(listen-no-socket, CALL(SYS_listen, memory_fd, 1))                                                            \
  X(sendto-fastopen, CALL(SYS_sendto, tcp_fd, "x", 1, MSG_FASTOPEN, &(struct sockaddr_in){AF_INET, htons((unsigned short)first), {htonl(0x7f000001)}, {0}}, 16)) \
  X(sendto-fastopen-null, CALL(SYS_sendto, tcp_fd, "x", 1, MSG_FASTOPEN, 0, 0))                                  \
  X(sendto-fastopen-high, CALL(SYS_sendto, tcp_fd, "x", 1, high | MSG_FASTOPEN, 0, 0))                           \
  X(sendto-address, CALL(SYS_sendto, tcp_fd, "x", 1, MSG_NOSIGNAL, memory, 16))                                  \
  X(sendto-address-4g, CALL(SYS_sendto, tcp_fd, "x", 1, MSG_NOSIGNAL, 0x100000000UL, 16))                        \
  X(sendto-unconnected, CALL(SYS_sendto, tcp_fd, "x", 1, MSG_NOSIGNAL, 0, 0))                                    \
  X(sendmsg-fastopen, message(tcp_fd, &(struct sockaddr_in){AF_INET, htons((unsigned short)first), {htonl(0x7f000001)}, {0}}, 16, MSG_FASTOPEN | MSG_NOSIGNAL)) \
  X(sendmsg-address, message(tcp_fd, &(struct sockaddr_in){AF_INET, htons((unsigned short)first), {htonl(0x7f000001)}, {0}}, 16, MSG_NOSIGNAL)) \
  X(sendmsg-unix-address, message(unix_fd, &(struct sockaddr_un){AF_UNIX, "/tmp/a"}, 10, MSG_NOSIGNAL))          \
  X(sendmmsg, CALL(SYS_sendmmsg, tcp_fd, memory, 1, 0))                                                          \
  X(recvmmsg, CALL(SYS_recvmmsg, tcp_fd, memory, 1, MSG_DONTWAIT, 0))                                            \
  X(option-fastopen-connect, set_option(tcp_fd, IPPROTO_TCP, 30))                                                \
  X(option-fastopen, set_option(tcp_fd, IPPROTO_TCP, TCP_FASTOPEN))                                              \
  X(option-repair, set_option(tcp_fd, IPPROTO_TCP, 19))                                                          \
  X(option-ulp, set_option(tcp_fd, IPPROTO_TCP, 31))                                                             \
  X(option-bind-to-device, set_option(tcp_fd, SOL_SOCKET, SO_BINDTODEVICE))                                      \
  X(option-reuse-port, set_option(tcp_fd, SOL_SOCKET, SO_REUSEPORT))                                             \
  X(option-mark, set_option(tcp_fd, SOL_SOCKET, SO_MARK))                                                        \
  X(option-attach-filter, set_option(tcp_fd, SOL_SOCKET, SO_ATTACH_FILTER))                                      \
  X(option-pass-credentials, set_option(unix_fd, SOL_SOCKET, SO_PASSCRED))                                       \
  X(option-transparent, set_option(tcp_fd, IPPROTO_IP, 19))                                                      \
  X(option-free-bind, set_option(tcp_fd, IPPROTO_IP, 15))                                                        \
  X(option-high, CALL(SYS_setsockopt, tcp_fd, high | SOL_SOCKET, SO_BINDTODEVICE, memory, 4))                    \
  /* the machine */                                                                                              \
  X(mount, CALL(SYS_mount, "a", "/tmp", "tmpfs", 0, 0))                                                          \
  X(umount2, CALL(SYS_umount2, "/tmp", 0))                                                                       \
  X(pivot-root, CALL(SYS_pivot_root, "/", "/"))                                                                  \
  X(open-tree, CALL(SYS_open_tree, AT_FDCWD, "/", 1))                                                            \
  X(fsopen, CALL(SYS_fsopen, "tmpfs", 0))                                                                        \
  X(init-module, CALL(SYS_init_module, memory, 1, ""))                                                           \
  X(reboot, CALL(SYS_reboot, 0, 0, 0, 0))                                                                        \
  X(iopl, CALL(SYS_iopl, 3))                                                                                     \
  X(ioperm, CALL(SYS_ioperm, 0, 1, 1))                                                                           \
  X(sethostname, CALL(SYS_sethostname, "a", 1))                                                                  \
  X(clock-settime, CALL(SYS_clock_settime, 0, memory))                                                           \
  X(adjtimex, CALL(SYS_adjtimex, memory))                                                                        \
  X(syslog, CALL(SYS_syslog, 3, memory, 64))                                                                     \
  X(quotactl, CALL(SYS_quotactl, 0, 0, 0, 0))                                                                    \
  X(lookup-dcookie, CALL(SYS_lookup_dcookie, 0, memory, 64))                                                     \
  X(x32-getpid, CALL(0x40000000 | SYS_getpid))                                                                   \
  X(x32-execve, CALL(0x40000000 | 520, "/bin/true", no_strings, no_strings))                                     \
  X(int80, int80())                                                                                              \
  X(high-number, CALL(0x7fffffff00000000L | SYS_getpid) == getpid() ? 0 : -EPROTO)                               \
  /* in crowds */                                                                                                \
  X(race-sockaddr, race_sockaddr())                                                                              \
  X(race-blocking, race_blocking())                                                                              \
  X(race-v6only, race_v6only())                                                                                  \
  X(threads-end, many_threads(end_at_once))                                                                      \
  X(threads-ask-and-end, many_threads(open_and_end))                                                             \
  X(flood, flood())                                                                                              \
  X(fill-descriptors, fill_descriptors())                                                                        \
  X(signal-storm, signal_storm())                                                                                \
  /* and what must go on working */                                                                              \
  X(hidden-thread-name, CALL(SYS_prctl, PR_SET_NAME, "\rState:Z", 0, 0, 0))                                      \
  X(plain-thread-name, CALL(SYS_prctl, PR_SET_NAME, "escape", 0, 0, 0))                                          \
  X(connect-granted, connect_bytes(AF_INET, &(struct sockaddr_in){AF_INET, htons((unsigned short)first), {htonl(0x7f000001)}, {0}}, 16)) \
  X(open-granted, open_and_close("/dev/null"))

#define RLIMIT_NOFILE_ 7
#define LINE(name, expression) \
  if (strcmp(command, #name) == 0) return expression;

static long make(const char *command) {
  ATTEMPTS(LINE)
  return -EDOM;
}

int main(void) {
  char line[256];
  tcp_fd = tcp();
  unix_fd = (int)syscall(SYS_socket, AF_UNIX, SOCK_STREAM, 0);
  memory_fd = (int)syscall(SYS_memfd_create, "escape", 0);
  setvbuf(stdout, NULL, _IOLBF, 0);
  puts("ready");
  while (fgets(line, sizeof line, stdin) != NULL) {
    char command[128];
    first = second = 0;
    if (sscanf(line, "%127s %ld %ld", command, &first, &second) < 1) continue;
    const long result = make(command);
    if (result < 0) puts(strerrorname_np((int)-result) ?: "an impossible errno");
    else printf("= %ld\n", result);
  }
  return 0;
}
