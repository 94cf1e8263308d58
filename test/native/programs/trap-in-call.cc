// SPDX-License-Identifier: Apache-2.0
// Has the leader of a process make two calls, and sends it a SIGTRAP in the first one: `trap-in-call PID`. Prints what the kernel returned for the second.
#include <signal.h>
#include <time.h>

#include <cstdlib>

#include "borrow.h"

namespace {

constexpr timespec long_enough{0, 200'000'000};
constexpr timespec half_of_it{0, 100'000'000};

/// To this very thread: what its process gets is not in the way of what the kernel raises for the thread.
void trap_soon(pid_t pid) {
  if (::fork() != 0) return;
  ::nanosleep(&half_of_it, nullptr);
  ::_exit(::syscall(SYS_tgkill, pid, pid, SIGTRAP) < 0);
}

}  // namespace

int main(int count, char** arguments) {
  using namespace ratchet;
  if (count != 2) return 2;
  const pid_t pid = std::atoi(arguments[1]);
  return with_borrowed(pid, pid, [pid](BorrowedThread& thread, Tracee& tracee, std::uint64_t place, const Deadline& deadline) {
    timespec before{};
    const std::span bytes(reinterpret_cast<std::uint8_t*>(&before), sizeof before);
    if (tracee.read_memory(place, bytes)) return fail("read");
    if (thread.write_memory(place, std::span(reinterpret_cast<const std::uint8_t*>(&long_enough), sizeof long_enough))) return fail("write");
    trap_soon(pid);
    if (!thread.call(SYS_nanosleep, {place}, deadline).ok()) return fail("nanosleep");
    if (thread.write_memory(place, bytes)) return fail("write");
    const auto result = thread.call(SYS_getpid, {}, deadline);
    if (!result.ok()) return fail("getpid");
    if (thread.put_back(deadline) || thread.let_go()) return fail("restore");
    std::printf("%lld\n", static_cast<long long>(result.value()));
    return 0;
  });
}
