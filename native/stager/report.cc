// SPDX-License-Identifier: Apache-2.0
#include "report.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

namespace {

int reporting_fd = -1;

}  // namespace

void report_to(int status_fd) { reporting_fd = status_fd; }

bool send_packet(const char* text, int fd) {
  iovec payload{const_cast<char*>(text), strlen(text)};  // iovec has no const form; sendmsg only reads.
  msghdr header{};
  header.msg_iov = &payload;
  header.msg_iovlen = 1;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  if (fd >= 0) {
    header.msg_control = control;
    header.msg_controllen = sizeof control;
    cmsghdr* rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(rights), &fd, sizeof(int));
  }
  ssize_t sent;
  do {
    sent = sendmsg(reporting_fd, &header, MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  return sent >= 0;
}

void fail(const char* step, int error) {
  char text[128];
  snprintf(text, sizeof text, "{\"step\":\"%s\",\"errno\":%d}", step, error);
  if (!send_packet(text, -1)) {
    // No launcher to tell. If stderr is closed as well, the exit status is all that is left.
    const bool told = write(STDERR_FILENO, text, strlen(text)) >= 0 && write(STDERR_FILENO, "\n", 1) >= 0;
    static_cast<void>(told);
  }
  _exit(127);
}
