// SPDX-License-Identifier: Apache-2.0
// Asks for connections and prints how long each took, in nanoseconds, one a line; in the end the whole time. It is the listener too: each connection is accepted
// and closed before the next is asked for, outside of the time that is taken.
//
//   load calls   TARGETS N COUNT WARM-UP                  connect(2) by itself
//   load struct  TARGETS N COUNT WARM-UP OUTSTANDING      peers/broker.c on fd 3
//   load msgpack TARGETS N COUNT WARM-UP OUTSTANDING      ratchet's broker on fd 3, whose hello was read
// TARGETS: unix:PATH or tcp:PORT; N of them are asked for in turn, PATH.0, PATH.1 and so on, or 127.0.0.1, 127.0.0.2 and so on
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

struct target {
  struct sockaddr_storage address;
  socklen_t length;
  char text[128];
  int listener;
};

static struct target *targets;
static uint64_t target_count;

static struct target *target_of(uint64_t id) { return &targets[id % target_count]; }

static uint64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static void listen_on(struct target *target, const char *text, unsigned number) {
  if (strncmp(text, "unix:", 5) == 0) {
    struct sockaddr_un *address = (struct sockaddr_un *)&target->address;
    address->sun_family = AF_UNIX;
    snprintf(address->sun_path, sizeof address->sun_path, "%s.%u", text + 5, number);
    target->length = sizeof(sa_family_t) + strlen(address->sun_path) + 1;
    unlink(address->sun_path);
    snprintf(target->text, sizeof target->text, "unix:%s", address->sun_path);
  } else {
    struct sockaddr_in *address = (struct sockaddr_in *)&target->address;
    address->sin_family = AF_INET;
    address->sin_port = htons(atoi(text + 4));
    address->sin_addr.s_addr = htonl(INADDR_LOOPBACK + number);
    target->length = sizeof *address;
    snprintf(target->text, sizeof target->text, "tcp:%s:%s", inet_ntoa(address->sin_addr), text + 4);
  }
  target->listener = socket(target->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int on = 1;
  setsockopt(target->listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(target->listener, (struct sockaddr *)&target->address, target->length) < 0 || listen(target->listener, 256) < 0)
    err(1, "%s", target->text);
}

/** Without a TIME_WAIT, so that the ports suffice. */
static void drop(int fd, const struct target *target) {
  const struct linger at_once = {1, 0};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  close(fd);
  close(accept(target->listener, NULL, NULL));
}

static size_t text(unsigned char *to, const char *value) {
  const size_t length = strlen(value);
  to[0] = 0xd9;
  to[1] = length;
  memcpy(to + 2, value, length);
  return length + 2;
}

/** {type: "connect", id: u64, address: TARGET, timeoutMs: 10000} */
static size_t as_msgpack(unsigned char *to, uint64_t id) {
  unsigned char *at = to;
  *at++ = 0x84;
  at += text(at, "type");
  at += text(at, "connect");
  at += text(at, "id");
  *at++ = 0xcf;
  for (int byte = 7; byte >= 0; byte--) *at++ = id >> (8 * byte);
  at += text(at, "address");
  at += text(at, target_of(id)->text);
  at += text(at, "timeoutMs");
  *at++ = 0xcd;
  *at++ = 10000 >> 8;
  *at++ = 10000 & 0xff;
  return at - to;
}

static size_t as_struct(unsigned char *to, uint64_t id) {
  const uint32_t length = target_of(id)->length;
  memset(to, 0, 64);
  memcpy(to, &id, 8);
  memcpy(to + 8, &length, 4);
  memcpy(to + 12, &target_of(id)->address, length);
  return 64;
}

static void ask(int msgpack, uint64_t id) {
  unsigned char bytes[256];
  const size_t length = msgpack ? as_msgpack(bytes, id) : as_struct(bytes, id);
  if (send(3, bytes, length, MSG_NOSIGNAL) != (ssize_t)length) err(1, "send");
}

/** The next connection; events come without one. */
static int take(void) {
  for (;;) {
    unsigned char bytes[32768];
    union {
      struct cmsghdr header;
      char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec part = {bytes, sizeof bytes};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    const ssize_t received = recvmsg(3, &message, MSG_CMSG_CLOEXEC);
    if (received <= 0) err(1, "recvmsg: %zd", received);
    const struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    if (header == NULL) continue;
    int fd;
    memcpy(&fd, CMSG_DATA(header), sizeof fd);
    return fd;
  }
}

/** All of a run share a CPU: see test/bench/broker/doors.ts. */
static void share_cpu(void) {
  cpu_set_t first;
  CPU_ZERO(&first);
  CPU_SET(0, &first);
  if (sched_setaffinity(0, sizeof first, &first) < 0) err(1, "sched_setaffinity");
}

int main(int argc, char **argv) {
  if (argc < 6) return 2;
  share_cpu();
  target_count = strtoul(argv[3], NULL, 10);
  targets = calloc(target_count, sizeof *targets);
  for (uint64_t number = 0; number < target_count; number++) listen_on(&targets[number], argv[2], number);
  fcntl(3, F_SETFL, fcntl(3, F_GETFL) & ~O_NONBLOCK);
  const int calls = strcmp(argv[1], "calls") == 0, msgpack = strcmp(argv[1], "msgpack") == 0;
  const uint64_t warm_up = strtoul(argv[5], NULL, 10), all = strtoul(argv[4], NULL, 10) + warm_up;
  const uint64_t outstanding = argc > 6 ? strtoul(argv[6], NULL, 10) : 1;
  uint64_t *took = calloc(all + 1, sizeof *took);
  uint64_t *asked = calloc(all + 1, sizeof *asked);
  uint64_t begun = now();
  for (uint64_t id = 1, next = 1; id <= all; id++) {
    if (id == warm_up + 1) begun = now();
    if (calls) {
      const struct target *target = target_of(id);
      const int fd = socket(target->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
      asked[id] = now();
      if (connect(fd, (struct sockaddr *)&target->address, target->length) < 0) err(1, "connect");
      took[id] = now() - asked[id];
      drop(fd, target);
      continue;
    }
    for (; next <= all && next < id + outstanding; next++) {
      asked[next] = now();
      ask(msgpack, next);
    }
    const int fd = take();
    took[id] = now() - asked[id];
    drop(fd, target_of(id));
  }
  const uint64_t whole = now() - begun;
  for (uint64_t id = warm_up + 1; id <= all; id++) printf("%lu\n", took[id]);
  printf("whole %lu\n", whole);
  return 0;
}
