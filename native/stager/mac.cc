// SPDX-License-Identifier: Apache-2.0
// The steps that give the program a label of mandatory access control. steps.h says what each should do.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "report.h"
#include "steps.h"

namespace {

constexpr const char* step = "mac";

int open_own(const char* path) { return open(path, O_WRONLY | O_CLOEXEC); }

}  // namespace

void open_label(Plan& plan) {
  if (plan.mac.kind == MacKind::none) return;
  // AppArmor has a folder of its own since Linux 5.8; before, and for SELinux, the name belongs to the one module that labels processes.
  plan.mac.exec_fd = plan.mac.kind == MacKind::apparmor ? open_own("/proc/thread-self/attr/apparmor/exec") : -1;
  if (plan.mac.exec_fd < 0 && (plan.mac.kind != MacKind::apparmor || errno == ENOENT)) plan.mac.exec_fd = open_own("/proc/thread-self/attr/exec");
  if (plan.mac.exec_fd < 0) fail(step, errno);
}

void label_exec(const Plan& plan) {
  if (plan.mac.kind == MacKind::none) return;
  // The kernel takes one page at most, and all of it in one write.
  char text[max_label + 8];
  const int length = snprintf(text, sizeof text, "%s%s", plan.mac.kind == MacKind::apparmor ? "exec " : "", plan.mac.label);
  if (write(plan.mac.exec_fd, text, static_cast<size_t>(length)) != length) fail(step, errno);
  close(plan.mac.exec_fd);
}
