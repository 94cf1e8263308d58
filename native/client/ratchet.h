// SPDX-License-Identifier: Apache-2.0
//
// ratchet.h: what a program that runs under `ratchet run` (a profile with `vmm: program`) may ask of its launcher: the next stage, and descriptors that the
// broker makes by the profile's rules. One header, C99 or C++, no library, no state of its own; one thread at a time.
//
//     if (ratchet_stage("running") < 0) err(1, "stage running");   // tightened, and verified from outside, when it returns
//     int fd = ratchet_connect("tcp:127.0.0.1:4444");
//
// All return -1 with errno on failure; ratchet_error() then has the launcher's words. Without a launcher (RATCHET_FD is not set) everything fails with
// ENOTCONN: a program must not go on as if it were confined.
#ifndef RATCHET_H
#define RATCHET_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum { ratchet_max_line = 4096 };

/// The launcher's answer to the last request, for people: "error CODE TEXT", or empty.
static inline char *ratchet_error(void) {
  static char text[ratchet_max_line];
  return text;
}

/// Sends one line and waits for its answer. 0, or -1 with errno. `fd` gets the descriptor that came with it, or -1.
static inline int ratchet_ask(const char *line, int *fd) {
  char *answer = ratchet_error();
  const char *number = getenv("RATCHET_FD");
  *fd = -1;
  answer[0] = 0;
  if (number == NULL) return errno = ENOTCONN, -1;
  const int channel = atoi(number);
  size_t length = strlen(line);
  while (length > 0) {
    const ssize_t sent = send(channel, line, length, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return -1;
    line += sent;
    length -= (size_t)sent;
  }
  size_t have = 0;
  while (have == 0 || answer[have - 1] != '\n') {
    union {
      struct cmsghdr header;
      char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec part = {answer + have, ratchet_max_line - 1 - have};
    struct msghdr message;
    memset(&message, 0, sizeof message);
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.bytes;
    message.msg_controllen = sizeof control.bytes;
    const ssize_t count = recvmsg(channel, &message, MSG_CMSG_CLOEXEC);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return -1;
    if (count == 0 || part.iov_len == 0) return errno = EPIPE, -1;
    const struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
    if (rights != NULL && rights->cmsg_level == SOL_SOCKET && rights->cmsg_type == SCM_RIGHTS) memcpy(fd, CMSG_DATA(rights), sizeof *fd);
    if (message.msg_flags & MSG_CTRUNC) return errno = EPROTO, -1;
    have += (size_t)count;
  }
  answer[have - 1] = 0;
  if (strcmp(answer, "ok") != 0) return errno = EACCES, -1;
  answer[0] = 0;
  return 0;
}

/// Enters a stage. When it returns 0, every thread of this process has the stage's filter and the launcher has looked at each.
static inline int ratchet_stage(const char *name) {
  char line[ratchet_max_line];
  int fd;
  if (snprintf(line, sizeof line, "stage %s\n", name) >= (int)sizeof line) return errno = EINVAL, -1;
  return ratchet_ask(line, &fd);
}

/// For requests that are answered with a descriptor.
static inline int ratchet_ask_fd(const char *line) {
  int fd;
  if (ratchet_ask(line, &fd) < 0) return -1;
  return fd < 0 ? (errno = EPROTO, -1) : fd;
}

/// A connected socket. `address` as in profiles: tcp:HOST:PORT, unix:PATH, unix-abstract:NAME, vsock:CID:PORT.
static inline int ratchet_connect(const char *address) {
  char line[ratchet_max_line];
  if (snprintf(line, sizeof line, "connect %s\n", address) >= (int)sizeof line) return errno = EINVAL, -1;
  return ratchet_ask_fd(line);
}

/// A bound socket, listening when `backlog` is above 0.
static inline int ratchet_bind(const char *address, int backlog) {
  char line[ratchet_max_line];
  if (snprintf(line, sizeof line, "bind %s %d\n", address, backlog) >= (int)sizeof line) return errno = EINVAL, -1;
  return ratchet_ask_fd(line);
}

/// An open file. `access` is "ro", "rw" or "wo".
static inline int ratchet_open(const char *path, const char *access) {
  char line[ratchet_max_line];
  if (strchr(path, '\n') != NULL || snprintf(line, sizeof line, "open %s %s\n", access, path) >= (int)sizeof line) return errno = EINVAL, -1;
  return ratchet_ask_fd(line);
}

#endif
