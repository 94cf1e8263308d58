// SPDX-License-Identifier: Apache-2.0
#include "sys/tighten_process.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cstdlib>
#include <string_view>

#include "sys/proc_files.h"

namespace ratchet {

namespace {

// include/linux/sched.h; field 9 of /proc/PID/stat shows them (proc(5)).
constexpr std::uint64_t pf_exiting = 0x4;
constexpr std::uint64_t pf_io_worker = 0x10;
constexpr std::uint64_t pf_user_worker = 0x4000;
constexpr std::uint64_t pf_kthread = 0x200000;

/// Empty when it cannot be read.
std::string read_all(int directory, const std::string& path, ProcFile kind) {
  auto text = read_proc(directory, path, kind);
  return text.ok() ? std::move(text.value()) : std::string();
}

bool pidfd_refers_to(int pidfd, pid_t pid) {
  const std::string info = read_all(AT_FDCWD, "/proc/self/fdinfo/" + std::to_string(pidfd), ProcFile::record);
  return number_in(field_of(info, "Pid"), 10, 0) == pid;
}

std::string in_task(pid_t tid, const char* file) { return "task/" + std::to_string(tid) + "/" + file; }

Result<UniqueFd> open_directory(pid_t pid) {
  UniqueFd directory(::open(("/proc/" + std::to_string(pid)).c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!directory) return Failure{ESRCH, "open"};
  return directory;
}

}  // namespace

Result<Process> Process::pin(pid_t pid, int pidfd) {
  auto directory = open_directory(pid);
  if (!directory.ok()) return directory.failure();
  // In this order: the pidfd is older than the directory fd, and its process still has the pid now, so it had it between.
  if (::syscall(SYS_pidfd_send_signal, pidfd, 0, nullptr, 0U) < 0) return last_failure("pidfd_send_signal");
  if (pid <= 0 || !pidfd_refers_to(pidfd, pid)) return Failure{ESRCH, "pidfd"};
  Process process(pid, pidfd, std::move(directory.value()));
  if (!process.alive()) return Failure{ESRCH, "pidfd"};
  return process;
}

bool Process::alive() const {
  // Readable once the whole process has ended; a zombie leader with living threads is not (pidfd_open(2)).
  pollfd poll{pidfd_, POLLIN, 0};
  return ::poll(&poll, 1, 0) == 0;
}

std::vector<pid_t> Process::tasks() const {
  auto listed = numbers_in(directory_.get(), "task");
  if (!listed.ok()) return {};
  std::vector<pid_t>& tids = listed.value();
  std::stable_partition(tids.begin(), tids.end(), [this](pid_t tid) { return tid == pid_; });
  return std::move(tids);
}

Result<Task> Process::task(pid_t tid) const {
  Task task;
  task.tid = tid;
  task.inner_tid = tid;
  std::uint64_t blocked = 0;
  each_field(read_record(in_task(tid, "status")), [&](std::string_view name, std::string_view value) {
    const auto decimal = [&value](long missing) { return number_in(value, 10, missing); };
    const auto set = [&value] { return static_cast<std::uint64_t>(number_in(value, 16, 0)); };
    if (name == "Name") task.name = value;
    else if (name == "State" && !value.empty()) task.state = value.front();
    else if (name == "TracerPid") task.tracer = static_cast<pid_t>(decimal(0));
    else if (name == "NSpid") task.inner_tid = static_cast<pid_t>(number_in(value.substr(value.find_last_of(" \t") + 1), 10, tid));
    else if (name == "Seccomp") task.seccomp_mode = static_cast<int>(decimal(-1));
    else if (name == "Seccomp_filters") task.filters = decimal(-1);
    else if (name == "NoNewPrivs") task.no_new_privs = decimal(0) == 1;
    else if (name == "SigPnd" || name == "ShdPnd") task.pending |= set();
    else if (name == "SigBlk") blocked = set();
    else if (name == "CapInh" || name == "CapPrm" || name == "CapEff" || name == "CapAmb") task.capabilities |= set();
  });
  if (task.state == '?') return Failure{ESRCH, "read"};
  task.deliverable = task.pending & ~blocked;
  return task;
}

pid_t Process::outer_tid(pid_t inner) const {
  for (const pid_t tid : tasks())
    if (auto found = task(tid); found.ok() && found.value().inner_tid == inner) return tid;
  return inner;
}

bool Process::ignores(int signal) const {
  return (static_cast<std::uint64_t>(number_in(field_of(read_record("status"), "SigIgn"), 16, 0)) >> (signal - 1) & 1) != 0;
}

bool Process::has(pid_t tid) const {
  return ::faccessat(directory_.get(), ("task/" + std::to_string(tid)).c_str(), F_OK, 0) == 0;
}

long Process::thread_count() const { return number_in(field_of(read_record("status"), "Threads"), 10, -1); }

ThreadKind Process::kind(pid_t tid) const {
  const std::uint64_t found = flags(tid);
  // A zombie has the flag still; for a thread that is gone flags() says it too.
  if ((found & pf_exiting) != 0) return ThreadKind::ending;
  return (found & (pf_io_worker | pf_user_worker | pf_kthread)) != 0 ? ThreadKind::kernel : ThreadKind::program;
}

bool Process::waits_for_supervisor(pid_t tid) const {
  // The function that called the scheduler. Compilers may append to its name (".isra.0"). "0" without CONFIG_KALLSYMS: then such a
  // thread is recognised only by its not stopping.
  return read_record(in_task(tid, "wchan")).starts_with("seccomp_do_user_notification");
}

std::string Process::read(const std::string& path) const { return read_all(directory_.get(), path, ProcFile::sequence); }

std::string Process::read_record(const std::string& path) const { return read_all(directory_.get(), path, ProcFile::record); }

UniqueFd Process::open(const std::string& path) const {
  return UniqueFd(::openat(directory_.get(), path.c_str(), O_RDONLY | O_CLOEXEC));
}

std::uint64_t Process::flags(pid_t tid) const {
  const std::string stat = read_record(in_task(tid, "stat"));
  // The name may hold blanks and parentheses; field 3 follows the last parenthesis.
  std::size_t at = stat.rfind(')');
  if (at == std::string::npos) return pf_exiting;
  for (int field_number = 2; field_number < 9; field_number++) at = stat.find(' ', at + 1);
  return std::strtoull(stat.c_str() + at, nullptr, 10);
}

}  // namespace ratchet
