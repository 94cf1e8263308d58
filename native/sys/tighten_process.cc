// SPDX-License-Identifier: Apache-2.0
#include "sys/tighten_process.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cstdlib>
#include <string_view>

namespace ratchet {

namespace {

// include/linux/sched.h; field 9 of /proc/PID/stat shows them (proc(5)).
constexpr std::uint64_t pf_exiting = 0x4;
constexpr std::uint64_t pf_io_worker = 0x10;
constexpr std::uint64_t pf_user_worker = 0x4000;
constexpr std::uint64_t pf_kthread = 0x200000;

std::string read_all(int directory, const char* path) {
  const UniqueFd fd(::openat(directory, path, O_RDONLY | O_CLOEXEC));
  std::string text;
  if (!fd) return text;
  char buffer[4096];
  for (;;) {
    const ssize_t count = ::read(fd.get(), buffer, sizeof buffer);
    // ESRCH: the thread ended meanwhile. What was read of it says nothing.
    if (count < 0) return {};
    if (count == 0) return text;
    text.append(buffer, static_cast<std::size_t>(count));
  }
}

/// The text after "\nName:", blanks skipped; empty when there is no such line.
std::string_view field(std::string_view text, std::string_view name) {
  std::size_t at = 0;
  while (at < text.size()) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    std::string_view line = text.substr(at, end - at);
    if (line.size() > name.size() && line.substr(0, name.size()) == name && line[name.size()] == ':') {
      line.remove_prefix(name.size() + 1);
      line.remove_prefix(std::min(line.find_first_not_of(" \t"), line.size()));
      return line;
    }
    at = end + 1;
  }
  return {};
}

long number(std::string_view text, int base, long missing) {
  return text.empty() ? missing : static_cast<long>(std::strtoul(std::string(text).c_str(), nullptr, base));
}

bool pidfd_refers_to(int pidfd, pid_t pid) {
  const std::string info = read_all(AT_FDCWD, ("/proc/self/fdinfo/" + std::to_string(pidfd)).c_str());
  return number(field(info, "Pid"), 10, 0) == pid;
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
  std::vector<pid_t> tids;
  const int fd = ::openat(directory_.get(), "task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return tids;
  DIR* directory = ::fdopendir(fd);
  if (directory == nullptr) {
    ::close(fd);
    return tids;
  }
  while (const dirent* entry = ::readdir(directory)) {
    const pid_t tid = static_cast<pid_t>(std::strtol(entry->d_name, nullptr, 10));
    if (tid > 0) tids.push_back(tid);
  }
  ::closedir(directory);
  std::stable_partition(tids.begin(), tids.end(), [this](pid_t tid) { return tid == pid_; });
  return tids;
}

Result<Task> Process::task(pid_t tid) const {
  const std::string status = read(in_task(tid, "status"));
  const std::string_view state = field(status, "State");
  if (state.empty()) return Failure{ESRCH, "read"};
  Task task;
  task.tid = tid;
  task.name = field(status, "Name");
  task.state = state[0];
  task.tracer = static_cast<pid_t>(number(field(status, "TracerPid"), 10, 0));
  const std::string_view inner = field(status, "NSpid");
  task.inner_tid = static_cast<pid_t>(number(inner.substr(inner.find_last_of(" \t") + 1), 10, tid));
  task.seccomp_mode = static_cast<int>(number(field(status, "Seccomp"), 10, -1));
  task.filters = number(field(status, "Seccomp_filters"), 10, -1);
  task.no_new_privs = number(field(status, "NoNewPrivs"), 10, 0) == 1;
  const auto set = [&status](const char* name) { return static_cast<std::uint64_t>(number(field(status, name), 16, 0)); };
  task.pending = set("SigPnd") | set("ShdPnd");
  task.deliverable = task.pending & ~set("SigBlk");
  task.capabilities = set("CapInh") | set("CapPrm") | set("CapEff") | set("CapAmb");
  return task;
}

pid_t Process::outer_tid(pid_t inner) const {
  for (const pid_t tid : tasks())
    if (auto found = task(tid); found.ok() && found.value().inner_tid == inner) return tid;
  return inner;
}

bool Process::ignores(int signal) const {
  return (static_cast<std::uint64_t>(number(field(read("status"), "SigIgn"), 16, 0)) >> (signal - 1) & 1) != 0;
}

bool Process::has(pid_t tid) const {
  return ::faccessat(directory_.get(), ("task/" + std::to_string(tid)).c_str(), F_OK, 0) == 0;
}

long Process::thread_count() const { return number(field(read("status"), "Threads"), 10, -1); }

ThreadKind Process::kind(pid_t tid) const {
  const std::uint64_t found = flags(tid);
  // A zombie has the flag still; for a thread that is gone flags() says it too.
  if ((found & pf_exiting) != 0) return ThreadKind::ending;
  return (found & (pf_io_worker | pf_user_worker | pf_kthread)) != 0 ? ThreadKind::kernel : ThreadKind::program;
}

bool Process::waits_for_supervisor(pid_t tid) const {
  // The function that called the scheduler. Compilers may append to its name (".isra.0"). "0" without CONFIG_KALLSYMS: then such a
  // thread is recognised only by its not stopping.
  return read(in_task(tid, "wchan")).starts_with("seccomp_do_user_notification");
}

std::string Process::read(const std::string& path) const { return read_all(directory_.get(), path.c_str()); }

UniqueFd Process::open(const std::string& path) const {
  return UniqueFd(::openat(directory_.get(), path.c_str(), O_RDONLY | O_CLOEXEC));
}

std::uint64_t Process::flags(pid_t tid) const {
  const std::string stat = read(in_task(tid, "stat"));
  // The name may hold blanks and parentheses; field 3 follows the last parenthesis.
  std::size_t at = stat.rfind(')');
  if (at == std::string::npos) return pf_exiting;
  for (int field_number = 2; field_number < 9; field_number++) at = stat.find(' ', at + 1);
  return std::strtoull(stat.c_str() + at, nullptr, 10);
}

}  // namespace ratchet
