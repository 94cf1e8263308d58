// SPDX-License-Identifier: Apache-2.0
// Makes one thread of another process perform a system call, as code that has taken the thread over would: `make-call PID TID NUMBER [VALUE|=TEXT]...`. A text
// is passed by its address. Prints what the kernel returned.
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "sys/tighten_borrow.h"
#include "sys/tighten_choose.h"
#include "sys/tighten_instruction.h"

namespace {

using namespace ratchet;

/// Below the stack pointer, and below what a leaf function may keep there.
constexpr std::uint64_t below_the_stack = 1024;

int fail(const char* step) {
  std::fprintf(stderr, "%s failed\n", step);
  return 1;
}

}  // namespace

int main(int count, char** arguments) {
  if (count < 4 || count > 10) return 2;
  const pid_t pid = std::atoi(arguments[1]);
  const pid_t tid = std::atoi(arguments[2]);
  const int pidfd = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0U));
  auto process = Process::pin(pid, pidfd);
  if (!process.ok()) return fail("pin");
  auto instruction = find_syscall_instruction(process.value(), pid);
  if (!instruction.ok()) return fail("instruction");
  const StepObserver nobody;
  const Deadline deadline(std::chrono::seconds(20));
  Choice choice(process.value(), nobody);
  const auto stopped = choice.stop_one({tid}, deadline);
  if (!std::holds_alternative<Chosen>(stopped)) return fail("stop");
  Tracee& tracee = *std::get<Chosen>(stopped).tracee;
  auto registers = tracee.registers();
  BorrowedThread thread(tracee, process.value(), call_site(process.value(), instruction.value()), nobody);
  if (!registers.ok() || thread.save() || thread.mask()) return fail("save");
  const std::uint64_t place = registers.value().rsp - below_the_stack;
  std::string before(below_the_stack / 2, '\0');
  if (tracee.read_memory(place, std::span(reinterpret_cast<std::uint8_t*>(before.data()), before.size()))) return fail("read");
  std::string texts;
  arch::Arguments values{};
  for (int index = 4; index < count; index++) {
    auto& value = values[static_cast<std::size_t>(index - 4)];
    if (arguments[index][0] != '=') {
      value = std::strtoull(arguments[index], nullptr, 0);
      continue;
    }
    value = place + texts.size();
    texts += std::string(arguments[index] + 1) + '\0';
  }
  const auto bytes = [](const std::string& text) { return std::span(reinterpret_cast<const std::uint8_t*>(text.data()), text.size()); };
  if (texts.size() > before.size() || thread.write_memory(place, bytes(texts))) return fail("write");
  auto result = thread.call(std::atol(arguments[3]), values, deadline);
  if (!result.ok()) return fail("call");
  if (thread.write_memory(place, bytes(before)) || thread.put_back(deadline) || thread.let_go()) return fail("restore");
  std::printf("%lld\n", static_cast<long long>(result.value()));
}
