// SPDX-License-Identifier: Apache-2.0
// libseccomp < RULES > BPF: a program as Debian's libseccomp makes it. Lines of RULES, all numbers in C's notation:
//   default ACTION                    first line; actions are SECCOMP_RET_* values
//   optimize LEVEL                    SCMP_FLTATR_CTL_OPTIMIZE
//   priority NR 0..255
//   rule ACTION NR [ARG MASK VALUE]... all comparisons must hold: (argument & MASK) == VALUE
#include <errno.h>
#include <seccomp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void must(int result, const char *line) {
  if (result == 0) return;
  fprintf(stderr, "libseccomp: %s: %s\n", strerror(-result), line);
  exit(1);
}

static unsigned long long number(char **rest, const char *line) {
  char *end;
  errno = 0;
  unsigned long long value = strtoull(*rest, &end, 0);
  if (end == *rest || errno != 0) must(-EINVAL, line);
  *rest = end;
  return value;
}

static void rule(scmp_filter_ctx context, char *rest, const char *line) {
  struct scmp_arg_cmp comparisons[6];
  unsigned count = 0;
  uint32_t action = (uint32_t)number(&rest, line);
  int nr = (int)number(&rest, line);
  while (rest[strspn(rest, " \n")] != '\0') {
    if (count == 6) must(-E2BIG, line);
    unsigned arg = (unsigned)number(&rest, line);
    scmp_datum_t mask = number(&rest, line);
    scmp_datum_t value = number(&rest, line);
    comparisons[count++] = mask == UINT64_MAX ? SCMP_CMP64(arg, SCMP_CMP_EQ, value)
                                              : SCMP_CMP64(arg, SCMP_CMP_MASKED_EQ, mask, value);
  }
  must(seccomp_rule_add_exact_array(context, action, nr, count, comparisons), line);
}

int main(void) {
  scmp_filter_ctx context = NULL;
  char *line = NULL;
  size_t size = 0;
  while (getline(&line, &size, stdin) > 0) {
    char word[16];
    int used = 0;
    if (sscanf(line, "%15s%n", word, &used) != 1) continue;
    char *rest = line + used;
    if (strcmp(word, "default") == 0) {
      context = seccomp_init((uint32_t)number(&rest, line));
      must(context == NULL ? -EINVAL : 0, line);
      must(seccomp_attr_set(context, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS), line);
    } else if (context == NULL) {
      must(-EINVAL, line);
    } else if (strcmp(word, "optimize") == 0) {
      must(seccomp_attr_set(context, SCMP_FLTATR_CTL_OPTIMIZE, (uint32_t)number(&rest, line)), line);
    } else if (strcmp(word, "priority") == 0) {
      int nr = (int)number(&rest, line);
      must(seccomp_syscall_priority(context, nr, (uint8_t)number(&rest, line)), line);
    } else if (strcmp(word, "rule") == 0) {
      rule(context, rest, line);
    } else {
      must(-EINVAL, line);
    }
  }
  if (context == NULL) must(-EINVAL, "no default");
  must(seccomp_export_bpf(context, 1), "export");
  seccomp_release(context);
  free(line);
  return 0;
}
