// SPDX-License-Identifier: Apache-2.0
// Stands for the launcher where there is no Node: `under-stager ATTRIBUTES STAGER OPTIONS...` starts the stager with its status socket as fd 3, tells what it says,
// and under which label its program is (ATTRIBUTES/current within /proc/PID/attr, "." for those of no one module), whose stdin it closes then.
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static void tell_label(int pid, const char* attributes) {
  char path[128], label[512];
  snprintf(path, sizeof path, "/proc/%d/attr/%s/current", pid, attributes);
  const int fd = open(path, O_RDONLY);
  const ssize_t size = read(fd, label, sizeof label - 1);
  label[size < 0 ? 0 : size] = '\0';
  label[strcspn(label, "\n")] = '\0';
  printf("label: %s\n", label);
}

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  int status[2], input[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, status) < 0 || pipe2(input, O_CLOEXEC) < 0) return 1;
  const pid_t stager = fork();
  if (stager == 0) {
    dup2(input[0], 0);
    dup2(status[1], 3);
    if (status[1] == 3) fcntl(3, F_SETFD, 0);
    execv(argv[2], argv + 2);
    _exit(126);
  }
  close(status[1]);
  close(input[0]);
  int pid = stager;
  char said[256];
  int failed = 0;
  for (ssize_t size; (size = recv(status[0], said, sizeof said - 1, 0)) > 0;) {
    said[size] = '\0';
    const char* born = strstr(said, "\"pid\":");
    if (born != NULL) pid = atoi(born + strlen("\"pid\":"));
    else printf("said: %s\n", said);
    failed |= strstr(said, "errno") != NULL;
  }
  if (!failed) tell_label(pid, argv[1]);
  fflush(stdout);
  close(input[1]);
  while (wait(NULL) > 0) continue;
  return 0;
}
