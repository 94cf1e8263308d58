// SPDX-License-Identifier: Apache-2.0
#include "sys/holdings.h"

#include <linux/limits.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sys/proc_files.h"
#include "sys/processes.h"
#include "sys/sockets.h"
#include "sys/tighten_process.h"

namespace ratchet {

namespace {

/// What ended while we looked; anything else must not pass for "there is none".
bool is_gone(const Failure& failure) { return failure.error == ENOENT || failure.error == ESRCH; }

class Look {
 public:
  Look(const Process& process, pid_t pid, int pidfd) : process_(process), pid_(pid), pidfd_(pidfd), directory_(process.open(".")) {}

  Result<Holdings> run(bool descriptors);

 private:
  Outcome threads();
  Outcome children_of(ThreadHoldings& thread);
  Outcome descriptors_of(pid_t tid, const std::string& folder);
  Outcome ask_socket(HeldDescriptor& held);
  Outcome mappings();

  const Process& process_;
  pid_t pid_;
  int pidfd_;
  UniqueFd directory_;
  Holdings found_;
};

Result<Holdings> Look::run(bool descriptors) {
  if (!directory_) return Failure{ESRCH, "open"};
  if (const Outcome failed = threads()) return *failed;
  if (!descriptors) return std::move(found_);
  if (const Outcome failed = descriptors_of(pid_, "fd")) return *failed;
  for (const ThreadHoldings& thread : found_.threads)
    if (thread.tid != pid_ && !share_files(pid_, thread.tid))
      if (const Outcome failed = descriptors_of(thread.tid, "task/" + std::to_string(thread.tid) + "/fd")) return *failed;
  if (const Outcome failed = mappings()) return *failed;
  return std::move(found_);
}

Outcome Look::threads() {
  for (const pid_t tid : process_.tasks()) {
    const auto task = process_.task(tid);
    // Of a thread that has ended nothing runs on; its table and its children are others' by now.
    if (!task.ok() || task.value().dead()) continue;
    found_.threads.push_back({tid, task.value().name, task.value().filters, {}});
    if (const Outcome failed = children_of(found_.threads.back())) return failed;
  }
  return {};
}

/// The file is not there without CONFIG_PROC_CHILDREN.
Outcome Look::children_of(ThreadHoldings& thread) {
  const auto listed = read_proc(directory_.get(), "task/" + std::to_string(thread.tid) + "/children", ProcFile::sequence);
  if (!listed.ok()) return is_gone(listed.failure()) ? Outcome() : Outcome(listed.failure());
  for (std::string_view rest = listed.value(); !rest.empty(); rest.remove_prefix(std::min(rest.find(' '), rest.size() - 1) + 1))
    thread.children.push_back(static_cast<pid_t>(number_in(rest, 10, 0)));
  return {};
}

Outcome Look::descriptors_of(pid_t tid, const std::string& folder) {
  const auto numbers = numbers_in(directory_.get(), folder);
  if (!numbers.ok()) return is_gone(numbers.failure()) ? Outcome() : Outcome(numbers.failure());
  char target[PATH_MAX];
  for (const int fd : numbers.value()) {
    const ssize_t length = ::readlinkat(directory_.get(), (folder + "/" + std::to_string(fd)).c_str(), target, sizeof target);
    if (length < 0) {
      const Failure failure = last_failure("readlink");
      if (is_gone(failure)) continue;
      return failure;
    }
    HeldDescriptor held{tid, fd, std::string(target, static_cast<std::size_t>(length))};
    if (tid == pid_ && held.what.starts_with("socket:"))
      if (const Outcome failed = ask_socket(held)) return failed;
    found_.descriptors.push_back(std::move(held));
  }
  return {};
}

Outcome Look::ask_socket(HeldDescriptor& held) {
  const auto copy = fd_of_process(pidfd_, held.fd);
  // Closed since it was listed.
  if (!copy.ok()) return copy.failure().error == EBADF ? Outcome() : Outcome(copy.failure());
  const auto domain = socket_option(copy.value().get(), SOL_SOCKET, SO_DOMAIN);
  if (!domain.ok()) return domain.failure();
  const auto type = socket_option(copy.value().get(), SOL_SOCKET, SO_TYPE);
  if (!type.ok()) return type.failure();
  held.domain = domain.value();
  held.type = type.value();
  return {};
}

Outcome Look::mappings() {
  const auto maps = read_proc(directory_.get(), "maps", ProcFile::sequence);
  if (!maps.ok()) return is_gone(maps.failure()) ? Outcome() : Outcome(maps.failure());
  found_.maps_ring = maps.value().find("anon_inode:[io_uring]") != std::string::npos;
  return {};
}

}  // namespace

Result<Holdings> look_at_holdings(pid_t pid, int pidfd, bool descriptors) {
  const auto process = Process::pin(pid, pidfd);
  if (!process.ok()) return process.failure();
  return Look(process.value(), pid, pidfd).run(descriptors);
}

}  // namespace ratchet
