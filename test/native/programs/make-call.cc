// SPDX-License-Identifier: Apache-2.0
// Makes one thread of another process perform a system call, as code that has taken the thread over would: `make-call PID TID NUMBER [VALUE|=TEXT]...`. A text
// is passed by its address. Prints what the kernel returned.
#include <cstdlib>
#include <string>

#include "borrow.h"

int main(int count, char** arguments) {
  using namespace ratchet;
  if (count < 4 || count > 10) return 2;
  const auto call = [&](BorrowedThread& thread, Tracee& tracee, std::uint64_t place, const Deadline& deadline) {
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
    return 0;
  };
  return with_borrowed(std::atoi(arguments[1]), std::atoi(arguments[2]), call);
}
