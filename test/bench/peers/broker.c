// SPDX-License-Identifier: Apache-2.0
// The least that a broker can be: a request of 64 bytes comes in on fd 3, a connected socket goes back. Few addresses, compared by their bytes; no stages, no log, no deadline.
//   broker N       the first N addresses asked for are those that are granted
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct request {
  uint64_t id;
  uint32_t length;
  unsigned char address[52];
};

struct reply {
  uint64_t id;
  uint64_t error;
};

static void answer(struct reply reply, int fd) {
  struct iovec part = {&reply, sizeof reply};
  union {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(int))];
  } control = {0};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
  if (fd >= 0) {
    message.msg_control = &control;
    message.msg_controllen = sizeof control;
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    *header = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int))};
    memcpy(CMSG_DATA(header), &fd, sizeof fd);
  }
  if (sendmsg(3, &message, MSG_NOSIGNAL) < 0) err(1, "sendmsg");
}

/** All of a run share a CPU: see test/bench/broker/doors.ts. */
static void share_cpu(void) {
  cpu_set_t first;
  CPU_ZERO(&first);
  CPU_SET(0, &first);
  if (sched_setaffinity(0, sizeof first, &first) < 0) err(1, "sched_setaffinity");
}

static unsigned char granted[512][52];

static int is_granted(const unsigned char *address, int most) {
  for (int each = 0; each < most; each++) {
    if (granted[each][0] == 0) memcpy(granted[each], address, sizeof granted[each]);
    if (memcmp(granted[each], address, sizeof granted[each]) == 0) return 1;
  }
  return 0;
}

int main(int argc, char **argv) {
  share_cpu();
  const int most = argc > 1 ? atoi(argv[1]) : 1;
  if (most > 512) return 2;
  fcntl(3, F_SETFL, fcntl(3, F_GETFL) & ~O_NONBLOCK);
  for (;;) {
    struct request request;
    const ssize_t received = recv(3, &request, sizeof request, 0);
    if (received == 0) return 0;
    if (received != sizeof request) err(1, "recv");
    if (request.length > sizeof request.address || !is_granted(request.address, most)) {
      answer((struct reply){request.id, EACCES}, -1);
      continue;
    }
    const int family = request.address[0] + request.address[1] * 256;
    const int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) err(1, "socket");
    if (connect(fd, (struct sockaddr *)request.address, request.length) < 0)
      answer((struct reply){request.id, errno}, -1);
    else
      answer((struct reply){request.id, 0}, fd);
    close(fd);
  }
}
