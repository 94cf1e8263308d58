// SPDX-License-Identifier: Apache-2.0
// The system call layer by itself, without Node, for a build with sanitizers: what a hostile peer can send, and what
// failure leaves behind. Prints "ok" when all holds.
#include <fcntl.h>
#include <linux/openat2.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>

#include "sys/files.h"
#include "sys/listener.h"
#include "sys/messages.h"
#include "sys/processes.h"
#include "sys/request_door.h"
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

/// A request of 40 bytes with its number at 8, and a flow that answers it by connecting to a listener that nobody accepts at.
struct Rig {
  Rig() {
    char directory[] = "/tmp/sys-check-XXXXXX";
    CHECK(::mkdtemp(directory) != nullptr);
    path = std::string(directory) + "/socket";
    for (std::size_t at = 0; at < request.size(); ++at) request[at] = static_cast<std::uint8_t>(at * 7);
    listen();
  }
  ~Rig() {
    ::unlink(path.c_str());
    ::rmdir(path.substr(0, path.rfind('/')).c_str());
  }
  void listen() {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strcpy(address.sun_path, path.c_str());
    listener = UniqueFd(::socket(AF_UNIX, SOCK_STREAM, 0));
    CHECK(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0 && ::listen(listener.get(), 4096) == 0);
  }
  RequestFlow flow() const {
    UniqueFd pin(::open(path.c_str(), O_PATH | O_CLOEXEC));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d", pin.get());
    auto target = FlowTarget::pinned({reinterpret_cast<std::uint8_t*>(&address), sizeof address}, std::move(pin), path);
    CHECK(target.ok());
    return {1, std::move(target.value()), AF_UNIX, SOCK_STREAM, 8, std::vector<std::uint8_t>(20, 0xee), 4};
  }
  void send(std::uint64_t id) {
    for (int byte = 0; byte < 8; ++byte) request[8 + static_cast<std::size_t>(byte)] = static_cast<std::uint8_t>(id >> (56 - 8 * byte));
    CHECK(send_message(pair.value().first.get(), request, {}).ok());
  }

  std::string path;
  UniqueFd listener;
  Result<SocketPair> pair = socket_pair(SOCK_SEQPACKET);
  std::vector<std::uint8_t> request = std::vector<std::uint8_t>(40);
  std::uint64_t served = 0;
  std::uint64_t tell_from = 0;
  std::uint64_t last_id = 0;
  std::uint64_t shut = 0;
  std::shared_ptr<FlowTrail> trail = std::make_shared<FlowTrail>(&served, &tell_from, 8);
  RequestDoor door{{pair.value().second.get(), 100, trail, &last_id, &shut}};
};

bool is_nothing(Result<Reception> reception) { return reception.ok() && std::holds_alternative<NothingWaiting>(reception.value()); }
bool is_message(Result<Reception> reception) { return reception.ok() && std::holds_alternative<Message>(reception.value()); }

void flows_answer_what_they_know() {
  Rig rig;
  auto receive = [&rig] {
    rig.door.begin_turn();
    return rig.door.receive();
  };
  rig.send(1);
  CHECK(is_message(receive()));  // Nothing is known.
  CHECK(rig.door.add(rig.request, rig.flow()));
  auto beyond = rig.flow();
  beyond.id_at = 33;
  CHECK(!rig.door.add(rig.request, std::move(beyond)));
  CHECK(!rig.door.add(rig.request, rig.flow()));  // There is one.
  CHECK(rig.door.take_used() == std::vector<std::uint32_t>{1} && rig.door.take_used().empty());
  rig.send(7);
  CHECK(is_nothing(receive()) && rig.served == 1 && rig.last_id == 7);
  CHECK(rig.door.take_used() == std::vector<std::uint32_t>{1});
  auto answer = receive_message(rig.pair.value().first.get(), 100, 1);
  CHECK(is_message(std::move(answer)));
  for (const std::uint64_t id : {std::uint64_t{0}, std::uint64_t{7}, std::uint64_t{1} << 63}) {
    rig.send(id);
    CHECK(is_message(receive()));  // None of these is a greater number.
  }
  rig.shut = 1;
  rig.send(8);
  CHECK(is_message(receive()));
  rig.shut = 0;
  std::mt19937 random(1);
  const auto good = rig.request;
  for (int round = 0; round < 5000; ++round) {
    rig.request = good;
    rig.request[(random() % 32 + 16) % 40] ^= static_cast<std::uint8_t>(1 + random() % 255);  // Anywhere but in the number.
    if (random() % 4 == 0) rig.request.resize(random() % 40);
    if (rig.request.empty()) continue;
    CHECK(send_message(rig.pair.value().first.get(), rig.request, {}).ok());
    CHECK(is_message(receive()) && rig.served == 1);
  }
  rig.request = good;
  rig.door.forget(1);
  rig.send(9);
  CHECK(is_message(receive()));
}

void a_turn_is_over_whoever_answers() {
  Rig rig;
  for (std::uint64_t id = 1; id <= 40; ++id) rig.send(id);
  rig.door.begin_turn();
  for (int received = 0; received < 32; ++received) CHECK(is_message(rig.door.receive()));
  CHECK(is_nothing(rig.door.receive()));
  rig.door.begin_turn();
  CHECK(is_message(rig.door.receive()));
}

void flows_stop_where_they_must() {
  Rig rig;
  CHECK(rig.door.add(rig.request, rig.flow()));
  const int free_before = lowest_free_fd();
  std::uint64_t id = 0;
  auto receive = [&rig] {
    rig.door.begin_turn();
    return rig.door.receive();
  };
  for (; id < 8;) rig.send(++id);
  CHECK(is_nothing(receive()) && rig.served == 8);
  rig.send(++id);
  CHECK(is_message(receive()) && !rig.door.take_begun());  // As many records wait as there may.
  rig.trail->take();
  rig.tell_from = UINT64_MAX;
  // Nobody reads: what was begun is handed on, and is closed by who gets it.
  std::optional<Begun> begun;
  while (!begun) {
    rig.send(++id);
    (void)receive();
    begun = rig.door.take_begun();
  }
  CHECK(begun->error == 0 && rig.served + 1 == id - 1);
  begun.reset();
  CHECK(lowest_free_fd() == free_before);
  while (is_message(receive_message(rig.pair.value().first.get(), 100, 1))) {}
  // Another socket at the path: the flow knows nothing more.
  ::unlink(rig.path.c_str());
  rig.listen();
  const auto served = rig.served;
  for (int twice = 0; twice < 2; ++twice) {
    rig.send(++id);
    CHECK(is_message(receive()) && rig.served == served);
  }
}

}  // namespace

int main() {
  flows_answer_what_they_know();
  a_turn_is_over_whoever_answers();
  flows_stop_where_they_must();
  random_messages();
  several_control_messages();
  wrong_sockets();
  files();
  processes();
  not_a_listener();
  std::puts("ok");
}
