// SPDX-License-Identifier: Apache-2.0
// Mechanisms of the kernel beside seccomp.
#include <fcntl.h>
#include <linux/io_uring.h>
#include <linux/kvm.h>
#include <linux/netlink.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "filters.h"
#include "probe.h"

namespace {

// From include/uapi/linux/landlock.h, Linux 5.13 and 6.12; the headers that we build with may be older.
struct Ruleset {
  uint64_t handled_access_fs;
  uint64_t handled_access_net;
  uint64_t scoped;
};
constexpr unsigned int ruleset_version = 1;
constexpr uint64_t scope_signal = 1ULL << 1;

// From include/uapi/linux/userfaultfd.h, Linux 5.11.
constexpr int user_mode_only = 1;

Finding openable(const char* path, int flags) {
  const int fd = open(path, flags | O_CLOEXEC);
  return fd < 0 ? failed(path) : works();
}

}  // namespace

Finding probe_close_range() {
  const int fd = open("/", O_PATH | O_CLOEXEC);
  if (syscall(SYS_close_range, fd, fd, 0U) < 0) return failed("close_range");
  return fcntl(fd, F_GETFD) < 0 ? works() : failed_with(EPROTO, "the fd is still open");
}

Finding probe_signal_scope() {
  const Ruleset rules{0, 0, scope_signal};
  forbid_new_privileges();
  const long ruleset = syscall(SYS_landlock_create_ruleset, &rules, sizeof rules, 0U);
  if (ruleset < 0) return failed("landlock_create_ruleset");
  if (syscall(SYS_landlock_restrict_self, ruleset, 0U) < 0) return failed("landlock_restrict_self");
  return kill(getppid(), 0) < 0 && errno == EPERM ? works() : failed_with(EPROTO, "a signal left the domain");
}

Finding probe_landlock() {
  const long version = syscall(SYS_landlock_create_ruleset, nullptr, 0UL, ruleset_version);
  return version < 0 ? failed("landlock_create_ruleset") : works_with("ABI %ld", version);
}

Finding probe_io_uring() {
  io_uring_params parameters{};
  return syscall(SYS_io_uring_setup, 1U, &parameters) < 0 ? failed("io_uring_setup") : works();
}

Finding probe_userfaultfd() {
  if (syscall(SYS_userfaultfd, O_CLOEXEC) >= 0) return works();
  const int error = errno;
  return failed_with(error, syscall(SYS_userfaultfd, O_CLOEXEC | user_mode_only) >= 0 ? "for user mode faults only" : "userfaultfd");
}

Finding probe_kvm() {
  const int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
  if (kvm < 0) return failed("/dev/kvm");
  if (ioctl(kvm, KVM_GET_API_VERSION, 0UL) != KVM_API_VERSION) return failed("KVM_GET_API_VERSION");
  return ioctl(kvm, KVM_CREATE_VM, 0UL) < 0 ? failed("KVM_CREATE_VM") : works();
}

Finding probe_tun() { return openable("/dev/net/tun", O_RDWR); }

Finding probe_audit() {
  const int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_AUDIT);
  if (fd < 0) return failed("socket");
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  address.nl_groups = 1;  // AUDIT_NLGRP_READLOG
  return bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) < 0 ? failed("bind") : works();
}

Finding probe_kernel_log() { return openable("/dev/kmsg", O_RDONLY | O_NONBLOCK); }
