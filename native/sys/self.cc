// SPDX-License-Identifier: Apache-2.0
#include "sys/self.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

#include "sys/each_thread.h"

namespace ratchet {

namespace {

// include/uapi/linux/landlock.h; the headers that we build with may be older than the kernel.
constexpr unsigned int version_flag = 1;
constexpr int path_beneath = 1;

struct RulesetAttributes {
  std::uint64_t handled_access_fs;
  std::uint64_t handled_access_net;
  std::uint64_t scoped;
};

struct __attribute__((packed)) PathBeneath {
  std::uint64_t allowed_access;
  std::int32_t parent_fd;
};

}  // namespace

int landlock_abi() {
  const long version = ::syscall(SYS_landlock_create_ruleset, nullptr, 0UL, version_flag);
  return version < 0 ? 0 : static_cast<int>(version);
}

Result<UniqueFd> make_ruleset(std::uint64_t handled, std::uint64_t scoped, std::span<const PathRight> rights) {
  const RulesetAttributes attributes{handled, 0, scoped};
  // Before ABI 6 the structure was shorter, and zeros behind its end are taken.
  UniqueFd ruleset(static_cast<int>(::syscall(SYS_landlock_create_ruleset, &attributes, sizeof attributes, 0U)));
  if (!ruleset) return last_failure("landlock_create_ruleset");
  for (const PathRight& right : rights) {
    const UniqueFd parent(::open(right.path.c_str(), O_PATH | O_CLOEXEC));
    if (!parent) return last_failure("open");
    const PathBeneath rule{right.access & handled, parent.get()};
    if (::syscall(SYS_landlock_add_rule, ruleset.get(), path_beneath, &rule, 0U) < 0) return last_failure("landlock_add_rule");
  }
  return ruleset;
}

int restrict_this_thread(int ruleset_fd) {
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1UL, 0UL, 0UL, 0UL) < 0) return errno;
  return ::syscall(SYS_landlock_restrict_self, ruleset_fd, 0U) < 0 ? errno : 0;
}

Outcome restrict_threads(int ruleset_fd, pid_t except) {
  const auto job = [](void* data) { return restrict_this_thread(*static_cast<int*>(data)); };
  return run_in_each_thread(job, &ruleset_fd, except);
}

namespace {

int keep_in_this_thread(std::uint64_t wanted) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3] = {};
  if (::syscall(SYS_capget, &header, sets) < 0) return errno;
  // Dropping from the bounding set needs CAP_SETPCAP, so it comes first. Reading fails behind the last one that the kernel knows (capabilities(7)).
  for (unsigned long number = 0; ::prctl(PR_CAPBSET_READ, number, 0UL, 0UL, 0UL) >= 0; ++number) {
    // Without the right to drop there is nothing that no_new_privs would let come back.
    if (::prctl(PR_CAPBSET_DROP, number, 0UL, 0UL, 0UL) < 0 && errno != EPERM) return errno;
  }
  if (::prctl(PR_CAP_AMBIENT, static_cast<unsigned long>(PR_CAP_AMBIENT_CLEAR_ALL), 0UL, 0UL, 0UL) < 0) return errno;
  for (unsigned int half = 0; half < _LINUX_CAPABILITY_U32S_3; ++half) {
    sets[half].permitted &= static_cast<__u32>(wanted >> (32 * half));
    sets[half].effective = sets[half].permitted;
    sets[half].inheritable = 0;
  }
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1UL, 0UL, 0UL, 0UL) < 0) return errno;
  return ::syscall(SYS_capset, &header, sets) < 0 ? errno : 0;
}

}  // namespace

Outcome keep_capabilities(std::uint64_t capabilities) {
  const auto job = [](void* data) { return keep_in_this_thread(*static_cast<std::uint64_t*>(data)); };
  return run_in_each_thread(job, &capabilities, 0);
}

namespace {

/// 0, or an errno; for TSYNC also the thread that differs, as a negative number.
long install(std::span<const std::uint8_t> bytes, unsigned long flags) {
  if (bytes.empty() || bytes.size() % sizeof(sock_filter) != 0 || bytes.size() / sizeof(sock_filter) > BPF_MAXINSNS) return EINVAL;
  // The kernel only reads the program; its struct has no const form.
  sock_fprog program{static_cast<unsigned short>(bytes.size() / sizeof(sock_filter)),
                     reinterpret_cast<sock_filter*>(const_cast<std::uint8_t*>(bytes.data()))};
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1UL, 0UL, 0UL, 0UL) < 0) return errno;
  const long result = ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
  return result < 0 ? errno : -result;
}

}  // namespace

Outcome filter_threads_together(std::span<const std::uint8_t> program) {
  const long result = install(program, SECCOMP_FILTER_FLAG_TSYNC);
  if (result == 0) return {};
  return Failure{result > 0 ? static_cast<int>(result) : ESRCH, "seccomp"};
}

int filter_this_thread(const Programs& programs) {
  for (const auto& program : programs)
    if (const long error = install(program, 0); error != 0) return static_cast<int>(error);
  return 0;
}

Outcome filter_each_thread(const Programs& programs, pid_t except) {
  const auto job = [](void* data) { return filter_this_thread(**static_cast<const Programs**>(data)); };
  const Programs* data = &programs;
  return run_in_each_thread(job, &data, except);
}

Outcome forbid_dumps() {
  if (::prctl(PR_SET_DUMPABLE, 0UL, 0UL, 0UL, 0UL) < 0) return last_failure("prctl");
  return {};
}

Outcome set_own_limit(int resource, std::uint64_t value) {
  rlimit limit{};
  if (::getrlimit(static_cast<__rlimit_resource_t>(resource), &limit) < 0) return last_failure("getrlimit");
  limit.rlim_max = std::min<rlim_t>(limit.rlim_max, value);
  limit.rlim_cur = std::min<rlim_t>(limit.rlim_cur, value);
  if (::setrlimit(static_cast<__rlimit_resource_t>(resource), &limit) < 0) return last_failure("setrlimit");
  return {};
}

}  // namespace ratchet
