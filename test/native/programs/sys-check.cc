// SPDX-License-Identifier: Apache-2.0
// The system call layer by itself, without Node, for a build with sanitizers: what a hostile peer can send, and what
// failure leaves behind. Prints "ok" when all holds.
#include <fcntl.h>
#include <linux/openat2.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>

#include "sys/files.h"
#include "sys/listener.h"
#include "sys/messages.h"
#include "sys/processes.h"
#include "sys/sockets.h"

using namespace ratchet;

#define CHECK(condition)                                                                 \
  do {                                                                                   \
    if (!(condition)) {                                                                  \
      std::fprintf(stderr, "%s:%d: %s (errno %d)\n", __FILE__, __LINE__, #condition, errno); \
      std::exit(1);                                                                      \
    }                                                                                    \
  } while (false)

namespace {

int lowest_free_fd() {
  const int fd = ::dup(0);
  ::close(fd);
  return fd;
}

/// Every mixture of sizes, fds and permitted numbers; no fd may be left, whatever the outcome.
void random_messages() {
  auto pair = socket_pair(SOCK_SEQPACKET);
  CHECK(pair.ok());
  const int left = pair.value().first.get();
  const int right = pair.value().second.get();
  const int free_before = lowest_free_fd();
  std::mt19937 random(1);  // A fixed seed: the same run each time.
  std::vector<std::uint8_t> data(300);
  for (int round = 0; round < 20'000; ++round) {
    const std::size_t size = random() % data.size();
    const std::vector<int> fds(random() % 8 == 0 ? random() % 254 : random() % 4, 0);
    const std::size_t room = 1 + random() % data.size();
    const std::size_t permitted = random() % 8 == 0 ? random() % 254 : random() % 4;
    auto sent = send_message(left, {data.data(), size}, fds);
    CHECK(sent.ok() && std::get<std::size_t>(sent.value()) == size);
    auto received = receive_message(right, room, permitted);
    const bool fits = size <= room && fds.size() <= permitted;
    CHECK(received.ok() == fits);
    if (!fits) {
      CHECK(received.failure().error == EPROTO);
    } else if (size == 0 && fds.empty()) {
      CHECK(std::holds_alternative<EndOfStream>(received.value()));
    } else {
      const Message& message = std::get<Message>(received.value());
      CHECK(message.data.size() == size && message.fds.size() == fds.size());
    }
  }
  CHECK(lowest_free_fd() == free_before);
  auto nothing = receive_message(right, 10, 10);
  CHECK(nothing.ok() && std::holds_alternative<NothingWaiting>(nothing.value()));
}

/// Several lists of fds in one message, and credentials between them. The kernel joins the lists.
void several_control_messages() {
  auto pair = socket_pair(SOCK_SEQPACKET);
  CHECK(pair.ok());
  const int free_before = lowest_free_fd();
  alignas(cmsghdr) char control[3 * CMSG_SPACE(sizeof(int))] = {};
  char byte = 'x';
  iovec payload{&byte, 1};
  msghdr header{};
  header.msg_iov = &payload;
  header.msg_iovlen = 1;
  header.msg_control = control;
  header.msg_controllen = sizeof control;
  for (cmsghdr* item = CMSG_FIRSTHDR(&header); item != nullptr; item = CMSG_NXTHDR(&header, item)) {
    item->cmsg_level = SOL_SOCKET;
    item->cmsg_type = SCM_RIGHTS;
    item->cmsg_len = CMSG_LEN(sizeof(int));
  }
  for (const std::size_t permitted : {2UL, 3UL}) {
    CHECK(::sendmsg(pair.value().first.get(), &header, 0) == 1);
    auto received = receive_message(pair.value().second.get(), 8, permitted);
    CHECK(received.ok() == (permitted == 3));
  }
  const int on = 1;
  CHECK(::setsockopt(pair.value().second.get(), SOL_SOCKET, SO_PASSCRED, &on, sizeof on) == 0);
  CHECK(::sendmsg(pair.value().first.get(), &header, 0) == 1);
  auto received = receive_message(pair.value().second.get(), 8, 8);
  CHECK(!received.ok() && received.failure().error == EPROTO);
  CHECK(lowest_free_fd() == free_before);
}

void wrong_sockets() {
  const std::uint8_t bytes[200] = {};
  CHECK(receive_message(0, 10, max_fds_per_message + 1).failure().error == EINVAL);
  CHECK(receive_message(-1, 10, 1).failure().error == EBADF);
  CHECK(send_message(-1, {}, {}).failure().error == EBADF);
  CHECK(connect_socket(-1, {bytes, sizeof bytes}).failure().error == EINVAL);
  CHECK(bind_socket(-1, {bytes, 129})->error == EINVAL);
  CHECK(bind_socket(-1, {bytes, 128})->error == EBADF);
  CHECK(socket_name(-1).failure().error == EBADF);
}

void files() {
  const int free_before = lowest_free_fd();
  const std::vector<std::uint8_t> data(100'000, 7);
  {
    auto memory = create_memfd("sealed", data, true);
    CHECK(memory.ok());
    CHECK(::write(memory.value().get(), "x", 1) < 0 && errno == EPERM);
    CHECK(::fcntl(memory.value().get(), F_GET_SEALS) == (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE));
  }
  CHECK(open_file(AT_FDCWD, "/proc/self/exe", O_RDONLY, 0, RESOLVE_NO_MAGICLINKS).failure().error == ELOOP);
  CHECK(create_tap(std::string(16, 'x'), 0).failure().error == ENAMETOOLONG);
  CHECK(set_interface_up(std::string(16, 'x'), true)->error == ENAMETOOLONG);
  CHECK(lowest_free_fd() == free_before);
}

void processes() {
  char here[16] = "same in a child";
  char there[16];
  const pid_t child = ::fork();
  if (child == 0) {
    set_parent_death_signal(SIGKILL);  // A failed check ends the parent without further ado.
    ::pause();
  }
  auto pidfd = open_pidfd(child, false);
  CHECK(pidfd.ok());
  CHECK(fd_of_process(pidfd.value().get(), 0).ok());
  CHECK(!read_memory(child, reinterpret_cast<std::uint64_t>(here), {reinterpret_cast<std::uint8_t*>(there), sizeof there}));
  CHECK(std::strcmp(here, there) == 0);
  CHECK(!send_signal(pidfd.value().get(), SIGKILL));
  CHECK(::waitpid(child, nullptr, 0) == child);
  CHECK(send_signal(pidfd.value().get(), SIGKILL)->error == ESRCH);
  CHECK(set_parent_death_signal(999)->error == EINVAL);
}

void not_a_listener() {
  CHECK(answer_continue(0, 1).failure().syscall != nullptr);
  CHECK(!answer_with_fd(-1, 1, 0, true).ok());
  sigset_t mask;
  CHECK(::sigprocmask(SIG_SETMASK, nullptr, &mask) == 0);
  for (int number = 1; number < 32; ++number) CHECK(::sigismember(&mask, number) == 0);  // Restored after the failure.
}

}  // namespace

int main() {
  random_messages();
  several_control_messages();
  wrong_sockets();
  files();
  processes();
  not_a_listener();
  std::puts("ok");
}
