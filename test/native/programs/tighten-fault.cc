// SPDX-License-Identifier: Apache-2.0
// Injects an allow-all filter, and has something happen before one of the steps: `tighten-fault PID STEP EVENT WAY`. WAY is `together`,
// `by-thread`, `with-role` (together, and the leader gets another one on top), or `landlock` (by thread, and each restricts itself by the ruleset of number 400); EVENT is `die` (this program is killed), `kill` (the target is), `signal` (it gets SIGRTMIN), `sigsys` (SIGSYS), `sigtrap` (SIGTRAP), `stop`
// (SIGSTOP), `continue` (SIGSTOP and SIGCONT), `close` (SIGUSR1, until the target has closed number 400) or `none`; STEP is a name, `#N` for the one that is taken as the Nth of all, from 0, or `*` for every step. Prints
// "ok" or "STEP ERRNO TID dirty|clean", and the steps on stderr.
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "sys/tighten.h"

using namespace ratchet;

namespace {

constexpr int ruleset_fd = 400;

struct Fault {
  int pidfd;
  std::string ruleset;
  std::string step;
  std::string event;
  int taken = 0;
};

void send(const Fault& fault, int signal) { ::syscall(SYS_pidfd_send_signal, fault.pidfd, signal, nullptr, 0U); }

void happen(const char* step, pid_t, void* context) {
  auto& fault = *static_cast<Fault*>(context);
  std::fprintf(stderr, "%s\n", step);
  const std::string place = "#" + std::to_string(fault.taken++);
  if (fault.step != "*" && fault.step != step && fault.step != place) return;
  if (fault.event == "die") ::kill(::getpid(), SIGKILL);
  if (fault.event == "kill") send(fault, SIGKILL);
  if (fault.event == "signal") send(fault, SIGRTMIN);
  if (fault.event == "sigsys") send(fault, SIGSYS);
  if (fault.event == "sigtrap") send(fault, SIGTRAP);
  if (fault.event == "stop") send(fault, SIGSTOP);
  if (fault.event == "close") {
    send(fault, SIGUSR1);
    while (::access(fault.ruleset.c_str(), F_OK) == 0) ::sched_yield();
  }
  if (fault.event == "continue") {
    send(fault, SIGSTOP);
    send(fault, SIGCONT);
  }
}

template <typename Done>
int say(const std::variant<Done, NotInjected>& outcome) {
  if (const auto* refusal = std::get_if<NotInjected>(&outcome)) {
    std::printf("%s %s %d %s\n", refusal->step, strerrorname_np(refusal->error), refusal->tid, refusal->dirty ? "dirty" : "clean");
  } else {
    std::puts("ok");
  }
  return 0;
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 5) return 2;
  const pid_t pid = std::atoi(arguments[1]);
  Fault fault{static_cast<int>(::syscall(SYS_pidfd_open, pid, 0U)), "/proc/" + std::to_string(pid) + "/fd/" + std::to_string(ruleset_fd), arguments[2], arguments[3]};
  const sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
  const std::span program(reinterpret_cast<const std::uint8_t*>(&allow), sizeof allow);
  const StepObserver observer{happen, &fault};
  if (std::strcmp(arguments[4], "together") == 0) return say(inject_filter({pid, fault.pidfd, program, std::chrono::seconds(10), observer}));
  if (std::strcmp(arguments[4], "by-thread") == 0)
    return say(inject_by_thread({pid, fault.pidfd, {program}, {}, {0}, {}, {}, std::chrono::seconds(10), observer}));
  if (std::strcmp(arguments[4], "landlock") == 0)
    return say(inject_by_thread({pid, fault.pidfd, {program}, {}, {0}, {}, ruleset_fd, std::chrono::seconds(10), observer}));
  return say(inject_by_thread({pid, fault.pidfd, {program}, {{pid, {0}}}, {}, 0, {}, std::chrono::seconds(10), observer}));
}
