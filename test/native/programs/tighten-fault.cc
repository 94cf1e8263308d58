// SPDX-License-Identifier: Apache-2.0
// Injects an allow-all filter, and has something happen before one of the steps: `tighten-fault PID STEP EVENT`. EVENT is `die` (this
// program is killed), `kill` (the target is), `signal` (it gets SIGRTMIN), `sigsys` (SIGSYS), `stop` (SIGSTOP), `continue` (SIGSTOP and
// SIGCONT) or `none`; STEP `*` is every step. Prints "ok" or "STEP ERRNO TID dirty|clean", and the steps on stderr.
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "sys/tighten.h"

namespace {

struct Fault {
  int pidfd;
  std::string step;
  std::string event;
};

void send(const Fault& fault, int signal) { ::syscall(SYS_pidfd_send_signal, fault.pidfd, signal, nullptr, 0U); }

void happen(const char* step, pid_t, void* context) {
  const auto& fault = *static_cast<const Fault*>(context);
  std::fprintf(stderr, "%s\n", step);
  if (fault.step != "*" && fault.step != step) return;
  if (fault.event == "die") ::kill(::getpid(), SIGKILL);
  if (fault.event == "kill") send(fault, SIGKILL);
  if (fault.event == "signal") send(fault, SIGRTMIN);
  if (fault.event == "sigsys") send(fault, SIGSYS);
  if (fault.event == "stop") send(fault, SIGSTOP);
  if (fault.event == "continue") {
    send(fault, SIGSTOP);
    send(fault, SIGCONT);
  }
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 4) return 2;
  const pid_t pid = std::atoi(arguments[1]);
  Fault fault{static_cast<int>(::syscall(SYS_pidfd_open, pid, 0U)), arguments[2], arguments[3]};
  const sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
  const std::span program(reinterpret_cast<const std::uint8_t*>(&allow), sizeof allow);
  const auto outcome = ratchet::inject_filter({pid, fault.pidfd, program, std::chrono::seconds(10), {happen, &fault}});
  if (std::holds_alternative<ratchet::Injected>(outcome)) {
    std::puts("ok");
    return 0;
  }
  const auto& refusal = std::get<ratchet::NotInjected>(outcome);
  std::printf("%s %s %d %s\n", refusal.step, strerrorname_np(refusal.error), refusal.tid, refusal.dirty ? "dirty" : "clean");
}
