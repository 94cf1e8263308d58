// SPDX-License-Identifier: Apache-2.0
// What a staged process finds: each word on the command line is one question, each answer one line on stdout.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static int by_number(const void *left, const void *right) { return *(const int *)left - *(const int *)right; }

static void list_fds(void) {
  DIR *directory = opendir("/proc/self/fd");
  int fds[4096];
  size_t count = 0;
  for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
    if (entry->d_name[0] != '.' && atoi(entry->d_name) != dirfd(directory)) fds[count++] = atoi(entry->d_name);
  }
  closedir(directory);
  qsort(fds, count, sizeof fds[0], by_number);
  for (size_t index = 0; index < count; ++index) printf("%s%d", index == 0 ? "" : ",", fds[index]);
  printf("\n");
}

static void result(const char *what, long value) { printf("%s %s\n", what, value < 0 ? strerrorname_np(errno) : "ok"); }

static void execute(void) {
  char *const argv[] = {"true", NULL};
  result("execve", execve("/bin/true", argv, environ));
  int fd = open("/bin/true", O_PATH | O_CLOEXEC);
  result("execveat", syscall(SYS_execveat, fd, "", argv, environ, AT_EMPTY_PATH));
  result("execveat-path", syscall(SYS_execveat, 16383, "/bin/true", argv, environ, 0));
  result("execveat-16383", syscall(SYS_execveat, 16383, "", argv, environ, AT_EMPTY_PATH));
  close(fd);
}

// Every way to an fd of the number 16383, in a process that may be root.
static void regain(void) {
  result("dup2", dup2(0, 16383));
  result("dup3", dup3(0, 16383, O_CLOEXEC));
  result("F_DUPFD", fcntl(0, F_DUPFD, 16383));
  struct rlimit limit = {16384, 16384};
  result("prlimit", prlimit(0, RLIMIT_NOFILE, &limit, NULL));
  result("setrlimit", syscall(SYS_setrlimit, RLIMIT_NOFILE, &limit));
  // All numbers that there are: the last one is below 16383.
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  int last = -1;
  for (int fd; (fd = dup(0)) >= 0;) last = fd;
  printf("last-dup %d %s\n", last, strerrorname_np(errno));
}

static void limits(void) {
  struct rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  printf("NOFILE %lu %lu\n", limit.rlim_cur, limit.rlim_max);
  getrlimit(RLIMIT_CORE, &limit);
  printf("CORE %lu %lu\n", limit.rlim_cur, limit.rlim_max);
}

static void status(void) {
  FILE *file = fopen("/proc/self/status", "re");
  char line[256];
  while (fgets(line, sizeof line, file) != NULL) {
    if (!strncmp(line, "Cap", 3) || !strncmp(line, "NoNew", 5) || !strncmp(line, "Seccomp", 7) || !strncmp(line, "Sig", 3)) fputs(line, stdout);
  }
  fclose(file);
}

static void environment(char **argv) { printf("argv0 %s MARK %s\n", argv[0], getenv("MARK") == NULL ? "" : getenv("MARK")); }

// getppid(2) cannot fail: whatever it returns here is what a supervisor answered.
static void call(void) { result("getppid", syscall(SYS_getppid)); }
static void call_value(void) { printf("getppid %ld\n", syscall(SYS_getppid)); }

static void open_granted(void) {
  int fd = open("/nonexistent/granted", O_RDONLY | O_CLOEXEC);
  char text[64] = "";
  ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
  printf("open %s %.*s %d\n", fd < 0 ? strerrorname_np(errno) : "ok", (int)(length < 0 ? 0 : length), text, fd < 0 ? -1 : fcntl(fd, F_GETFD));
  if (fd >= 0) close(fd);
}

// A child that makes the call and is killed while it waits.
static void killed_caller(void) {
  pid_t child = fork();
  if (child == 0) _exit((int)syscall(SYS_getppid));
  printf("child %d\n", child);
  fflush(stdout);
  int how;
  waitpid(child, &how, 0);
  printf("killed %d\n", WIFSIGNALED(how) ? WTERMSIG(how) : 0);
}

// Text that ends where mapped memory ends, for readers of this process.
static void memory(void) {
  long page = sysconf(_SC_PAGESIZE);
  char *mapped = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  munmap(mapped + page, page);
  memcpy(mapped + page - 4, "text", 4);
  printf("text %lu\n", (unsigned long)(mapped + page - 4));
  fflush(stdout);
}

// Takes all fd numbers there are.
static void fill(void) {
  while (dup(1) >= 0) continue;
}

int main(int argc, char **argv) {
  for (int index = 1; index < argc; ++index) {
    const char *word = argv[index];
    if (!strcmp(word, "fds")) list_fds();
    else if (!strcmp(word, "execute")) execute();
    else if (!strcmp(word, "regain")) regain();
    else if (!strcmp(word, "limits")) limits();
    else if (!strcmp(word, "status")) status();
    else if (!strcmp(word, "environment")) environment(argv);
    else if (!strcmp(word, "call")) call();
    else if (!strcmp(word, "call-value")) call_value();
    else if (!strcmp(word, "open-granted")) open_granted();
    else if (!strcmp(word, "memory")) memory();
    else if (!strcmp(word, "fill")) fill();
    else if (!strcmp(word, "killed-caller")) killed_caller();
    else if (!strcmp(word, "pause")) { printf("pid %d\n", getpid()); fflush(stdout); pause(); }
    else return 2;
    fflush(stdout);
  }
  return 0;
}
