// SPDX-License-Identifier: Apache-2.0
// A member that has been taken over. Reads "unix PATH", "abstract NAME" or "tcp PORT" a line, connects there, and says what the kernel answered.
#include <arpa/inet.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int call(const char *kind, const char *where) {
    struct sockaddr_in internet = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(where))};
    struct sockaddr_un local = {.sun_family = AF_UNIX};
    const int is_tcp = strcmp(kind, "tcp") == 0;
    const int is_abstract = strcmp(kind, "abstract") == 0;
    internet.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    memcpy(local.sun_path + is_abstract, where, strnlen(where, sizeof local.sun_path - 2));
    const size_t length = offsetof(struct sockaddr_un, sun_path) + strlen(where) + 1;
    const int fd = socket(is_tcp ? AF_INET : AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0) return errno;
    const struct sockaddr *address = is_tcp ? (void *)&internet : (void *)&local;
    const int result = connect(fd, address, is_tcp ? sizeof internet : (socklen_t)length) == 0 ? 0 : errno;
    close(fd);
    return result;
}

int main(void) {
    char line[256], kind[16], where[200];
    setvbuf(stdout, NULL, _IOLBF, 0);
    puts("ready");
    while (fgets(line, sizeof line, stdin) != NULL) {
        if (sscanf(line, "%15s %199s", kind, where) != 2) return 1;
        const int error = call(kind, where);
        puts(error == 0 ? "connected" : strerrorname_np(error));
    }
    return 0;
}
