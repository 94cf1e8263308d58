// SPDX-License-Identifier: Apache-2.0
#include "arguments.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>
#include <span>

#include "report.h"

namespace {

[[noreturn]] void misuse(const char* what, const char* which) {
  char line[512];
  const int length = snprintf(line, sizeof line, "ratchet-stager: %s: %.400s\n", what, which);
  // Nothing to do if stderr is closed: the report says that the arguments were wrong.
  if (write(STDERR_FILENO, line, static_cast<size_t>(length)) < 0) errno = 0;
  fail("arguments", EINVAL);
}

/// Reads decimal digits, at least one, up to the first other character; null when there are none or the number is too large.
const char* read_number(const char* text, unsigned long most, unsigned long& number) {
  if (*text < '0' || *text > '9') return nullptr;  // strtoul would take a sign and spaces.
  char* end;
  errno = 0;
  number = strtoul(text, &end, 10);
  return errno == 0 && number <= most ? end : nullptr;
}

int whole_number(const char* option, const char* text, unsigned long least, unsigned long most) {
  unsigned long number;
  const char* end = read_number(text, most, number);
  if (end == nullptr || *end != '\0' || number < least) misuse(option, text);
  return static_cast<int>(number);
}

void keep_fd(Plan& plan, int fd, const char* text) {
  if (plan.kept_count == max_kept_fds) misuse("--keep: too many", text);
  int place = plan.kept_count;
  while (place > 0 && plan.kept_fds[place - 1] >= fd) --place;
  if (place < plan.kept_count && plan.kept_fds[place] == fd) misuse("--keep: a number twice", text);
  memmove(&plan.kept_fds[place + 1], &plan.kept_fds[place], static_cast<size_t>(plan.kept_count - place) * sizeof(int));
  plan.kept_fds[place] = fd;
  ++plan.kept_count;
}

void parse_keep(Plan& plan, const char* text) {
  const char* at = text;
  while (*at != '\0') {
    unsigned long fd;
    // From 16383 on is the program's own place, and what the limit forbids.
    at = read_number(at, exec_fd - 1, fd);
    if (at == nullptr || (*at != ',' && *at != '\0') || (*at == ',' && at[1] == '\0')) misuse("--keep", text);
    keep_fd(plan, static_cast<int>(fd), text);
    if (*at == ',') ++at;
  }
}

struct LimitName {
  const char* name;
  int resource;
};

constexpr LimitName limit_names[] = {
    {"AS", RLIMIT_AS},           {"CORE", RLIMIT_CORE},
    {"CPU", RLIMIT_CPU},         {"DATA", RLIMIT_DATA},
    {"FSIZE", RLIMIT_FSIZE},     {"LOCKS", RLIMIT_LOCKS},
    {"MEMLOCK", RLIMIT_MEMLOCK}, {"MSGQUEUE", RLIMIT_MSGQUEUE},
    {"NICE", RLIMIT_NICE},       {"NOFILE", RLIMIT_NOFILE},
    {"NPROC", RLIMIT_NPROC},     {"RSS", RLIMIT_RSS},
    {"RTPRIO", RLIMIT_RTPRIO},   {"RTTIME", RLIMIT_RTTIME},
    {"STACK", RLIMIT_STACK},     {"SIGPENDING", RLIMIT_SIGPENDING},
};
static_assert(sizeof limit_names / sizeof limit_names[0] == max_limits);

int limit_by_name(const char* text, size_t length) {
  for (const LimitName& known : limit_names) {
    if (strlen(known.name) == length && strncmp(known.name, text, length) == 0) return known.resource;
  }
  misuse("--rlimit", text);
}

const char* read_limit(const char* text, rlim_t& limit) {
  constexpr const char* unlimited = "unlimited";
  if (strncmp(text, unlimited, strlen(unlimited)) == 0) {
    limit = RLIM_INFINITY;
    return text + strlen(unlimited);
  }
  unsigned long number;
  const char* end = read_number(text, ULONG_MAX - 1, number);
  limit = number;
  return end;
}

void parse_limit(Plan& plan, const char* text) {
  const char* equals = strchr(text, '=');
  if (equals == nullptr) misuse("--rlimit", text);
  Limit limit{limit_by_name(text, static_cast<size_t>(equals - text)), {}};
  for (int index = 0; index < plan.limit_count; ++index) {
    if (plan.limits[index].resource == limit.resource) misuse("--rlimit: a name twice", text);
  }
  const char* colon = read_limit(equals + 1, limit.value.rlim_cur);
  if (colon == nullptr || *colon != ':') misuse("--rlimit", text);
  const char* end = read_limit(colon + 1, limit.value.rlim_max);
  if (end == nullptr || *end != '\0' || limit.value.rlim_cur > limit.value.rlim_max) misuse("--rlimit", text);
  plan.limits[plan.limit_count++] = limit;
}

/// `A:B:...`: as many numbers as there are places, each below `ULONG_MAX`; what follows the last is returned.
const char* read_numbers(const char* option, const char* text, unsigned long* numbers, int count, char last) {
  const char* at = text;
  for (int index = 0; index < count; ++index) {
    at = read_number(at, ULONG_MAX - 1, numbers[index]);
    const char expected = index + 1 == count ? last : ':';
    if (at == nullptr || *at != expected) misuse(option, text);
    if (*at != '\0') ++at;
  }
  return at;
}

void parse_user(Plan& plan, const char* text) {
  unsigned long ids[2];
  read_numbers("--user", text, ids, 2, '\0');
  constexpr unsigned long none = 0xffffffff;  // (uid_t)-1 means "leave it" to setresuid(2).
  if (ids[0] >= none || ids[1] >= none) misuse("--user", text);
  plan.user = static_cast<long>(ids[0]);
  plan.group = static_cast<long>(ids[1]);
}

void parse_landlock(Plan& plan, const char* text) {
  unsigned long bits[3];
  read_numbers("--landlock", text, bits, 3, '\0');
  plan.landlock_wanted = true;
  plan.landlock.fs = bits[0];
  plan.landlock.net = bits[1];
  plan.landlock.scoped = bits[2];
}

void parse_landlock_path(LandlockRules& rules, const char* option, const char* text) {
  if (rules.path_count == max_landlock_paths) misuse("too many paths", option);
  LandlockPath& path = rules.paths[rules.path_count++];
  path.path = read_numbers(option, text, &path.access, 1, ':');
  if (*path.path != '/') misuse("not absolute", text);
}

void parse_ruleset(Plan& plan, const char* text) {
  unsigned long numbers[2];
  read_numbers("--ruleset", text, numbers, 2, '\0');
  if (plan.ruleset_count == max_rulesets) misuse("--ruleset: too many", text);
  const auto below = static_cast<unsigned long>(lowest_own_fd(plan));
  if (numbers[0] >= below) misuse("--ruleset: not below the one before", text);
  LaterRuleset& ruleset = plan.rulesets[plan.ruleset_count++];
  ruleset.fd = static_cast<int>(numbers[0]);
  ruleset.rules.fs = numbers[1];
}

void parse_root_bind(Plan& plan, const char* text) {
  if (plan.root_bind_count == max_root_entries) misuse("--root-bind: too many", text);
  RootBind& bind = plan.root_binds[plan.root_bind_count++];
  bind.path = read_numbers("--root-bind", text, &bind.uses, 1, ':');
  if (*bind.path != '/' || bind.path[1] == '\0') misuse("--root-bind: not absolute, or everything", text);
}

void parse_root_link(Plan& plan, char* text) {
  if (plan.root_link_count == max_root_entries) misuse("--root-link: too many", text);
  unsigned long length;
  char* path = text + (read_numbers("--root-link", text, &length, 1, ':') - text);
  if (*path != '/' || length < 2 || length >= strlen(path)) misuse("--root-link", text);
  // One place to the left, over the colon, so that there is room for its end.
  memmove(path - 1, path, length);
  path[length - 1] = '\0';
  plan.root_links[plan.root_link_count++] = {path - 1, path + length};
}

void parse_mac(Plan& plan, const char* text) {
  const char* colon = strchr(text, ':');
  if (colon == nullptr) misuse("--mac", text);
  const auto is = [&](const char* kind) { return strlen(kind) == static_cast<size_t>(colon - text) && strncmp(text, kind, strlen(kind)) == 0; };
  plan.mac.kind = is("apparmor") ? MacKind::apparmor : is("selinux") ? MacKind::selinux : MacKind::none;
  plan.mac.label = colon + 1;
  const size_t length = strlen(plan.mac.label);
  if (plan.mac.kind == MacKind::none || length == 0 || length > max_label) misuse("--mac", text);
}

bool kept(const Plan& plan, int fd) { return std::binary_search(plan.kept_fds, plan.kept_fds + plan.kept_count, fd); }

/// An option without a value.
struct Flag {
  const char* option;
  bool& given;
};

bool set_flag(std::span<const Flag> flags, const char* option) {
  for (const Flag& flag : flags) {
    if (strcmp(option, flag.option) != 0) continue;
    if (flag.given) misuse("given twice", option);
    flag.given = true;
    return true;
  }
  return false;
}

}  // namespace

void parse_arguments(int argc, char** argv, Plan& plan) {
  plan.status_fd = -1;
  plan.filter_fd = -1;
  plan.cgroup_fd = -1;
  plan.listener = true;
  plan.user = -1;
  plan.group = -1;
  bool keep_given = false;
  bool without_listener = false;
  bool without_filter = false;

  const Flag flags[] = {{"--drop-capabilities", plan.drop_capabilities}, {"--scope-signals", plan.scope_signals}, {"--lock-securebits", plan.lock_securebits},
                        {"--new-root", plan.new_root},                   {"--root-proc", plan.root_proc},         {"--no-listener", without_listener},
                        {"--no-filter", without_filter}};

  int index = 1;
  for (; index < argc && strcmp(argv[index], "--") != 0; ++index) {
    const char* option = argv[index];
    if (set_flag(flags, option)) continue;
    if (index + 1 == argc) misuse("unknown, or without its value", option);
    char* const value = argv[++index];
    if (strcmp(option, "--status-fd") == 0) {
      if (plan.status_fd >= 0) misuse("given twice", option);
      plan.status_fd = whole_number(option, value, 0, exec_fd - 1);
      report_to(plan.status_fd);
    } else if (strcmp(option, "--filter-fd") == 0) {
      if (plan.filter_fd >= 0) misuse("given twice", option);
      plan.filter_fd = whole_number(option, value, 0, INT_MAX);
    } else if (strcmp(option, "--cgroup-fd") == 0) {
      if (plan.cgroup_fd >= 0) misuse("given twice", option);
      plan.cgroup_fd = whole_number(option, value, 0, exec_fd - 1);
    } else if (strcmp(option, "--keep") == 0) {
      if (keep_given) misuse("given twice", option);
      keep_given = true;
      parse_keep(plan, value);
    } else if (strcmp(option, "--rlimit") == 0) {
      parse_limit(plan, value);
    } else if (strcmp(option, "--namespaces") == 0) {
      if (plan.namespaces != 0) misuse("given twice", option);
      plan.namespaces = static_cast<unsigned long>(whole_number(option, value, 1, INT_MAX));
    } else if (strcmp(option, "--user") == 0) {
      if (plan.user >= 0) misuse("given twice", option);
      parse_user(plan, value);
    } else if (strcmp(option, "--landlock") == 0) {
      if (plan.landlock_wanted) misuse("given twice", option);
      parse_landlock(plan, value);
    } else if (strcmp(option, "--landlock-path") == 0) {
      parse_landlock_path(plan.landlock, option, value);
    } else if (strcmp(option, "--ruleset") == 0) {
      parse_ruleset(plan, value);
    } else if (strcmp(option, "--ruleset-path") == 0) {
      if (plan.ruleset_count == 0) misuse("missing", "--ruleset");
      parse_landlock_path(plan.rulesets[plan.ruleset_count - 1].rules, option, value);
    } else if (strcmp(option, "--root-bind") == 0) {
      parse_root_bind(plan, value);
    } else if (strcmp(option, "--root-link") == 0) {
      parse_root_link(plan, value);
    } else if (strcmp(option, "--mac") == 0) {
      if (plan.mac.kind != MacKind::none) misuse("given twice", option);
      parse_mac(plan, value);
    } else if (strcmp(option, "--parent-pid") == 0) {
      if (plan.parent_pid != 0) misuse("given twice", option);
      plan.parent_pid = whole_number(option, value, 1, INT_MAX);
    } else if (strcmp(option, "--exec") == 0) {
      if (plan.program != nullptr) misuse("given twice", option);
      plan.program = value;
    } else {
      misuse("unknown option", option);
    }
  }

  plan.listener = !without_listener && !without_filter;
  if (plan.status_fd < 0) misuse("missing", "--status-fd");
  if (without_filter && (without_listener || plan.filter_fd >= 0)) misuse("goes with no filter", "--no-filter");
  if (!without_filter && plan.filter_fd < 0) misuse("missing", "--filter-fd");
  if (!keep_given) misuse("missing", "--keep");
  if (plan.program == nullptr) misuse("missing", "--exec");
  if (plan.landlock.path_count > 0 && !plan.landlock_wanted) misuse("missing", "--landlock");
  if (plan.new_root && (plan.namespaces & CLONE_NEWNS) == 0) misuse("missing", "--namespaces with CLONE_NEWNS");
  if ((plan.root_bind_count > 0 || plan.root_link_count > 0 || plan.root_proc) && !plan.new_root) misuse("missing", "--new-root");
  if (plan.filter_fd == plan.status_fd) misuse("one number for two fds", "--filter-fd");
  if (kept(plan, plan.status_fd)) misuse("kept, but it is ours", "--status-fd");
  if (plan.filter_fd >= 0 && kept(plan, plan.filter_fd)) misuse("kept, but it is ours", "--filter-fd");
  if (plan.cgroup_fd >= 0 && (plan.cgroup_fd == plan.status_fd || plan.cgroup_fd == plan.filter_fd)) misuse("one number for two fds", "--cgroup-fd");
  if (plan.cgroup_fd >= 0 && kept(plan, plan.cgroup_fd)) misuse("kept, but it is ours", "--cgroup-fd");
  const int highest = plan.kept_count == 0 ? -1 : plan.kept_fds[plan.kept_count - 1];
  if (lowest_own_fd(plan) <= highest || lowest_own_fd(plan) <= plan.status_fd) misuse("not above every other fd", "--ruleset");
  if (index + 1 >= argc) misuse("missing", "-- ARGV0");
  plan.argv = argv + index + 1;
}
