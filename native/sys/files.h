// SPDX-License-Identifier: Apache-2.0
// Files, memory files and network interfaces.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "sys/result.h"
#include "sys/unique_fd.h"

namespace ratchet {

/// openat2(2), with O_CLOEXEC added. `resolve` is a set of RESOLVE_* bits.
Result<UniqueFd> open_file(int directory_fd, const std::string& path, std::uint64_t flags, std::uint64_t mode,
                           std::uint64_t resolve);

/// unlink(2). A symbolic link is removed itself.
Outcome unlink_file(const std::string& path);

/// A memory file that holds `data`, its offset at 0. Sealed, it can be neither written, resized nor unsealed.
Result<UniqueFd> create_memfd(const std::string& name, std::span<const std::uint8_t> data, bool seal);

/// Maps the file's first bytes, shared and writable, for as long as the process lives.
Result<std::span<std::uint8_t>> map_shared(int fd, std::size_t bytes);

struct Tap {
  UniqueFd fd;
  std::string name;
};

/// Attaches to (or makes) an interface through /dev/net/tun. `flags` are IFF_* for TUNSETIFF. A `name` with %d asks for a free number.
Result<Tap> create_tap(const std::string& name, short flags);

/// A memory file of so many bytes, all zero. `seals` is a set of F_SEAL_*; 0 leaves sealing to its holder.
Result<UniqueFd> create_sized_memfd(const std::string& name, std::uint64_t bytes, int seals);

/// SIOCSIFMTU.
Outcome set_interface_mtu(const std::string& name, int mtu);

/// SIOCBRADDIF: makes the interface a port of the bridge.
Outcome add_to_bridge(const std::string& name, const std::string& bridge);

/// TUNSETOWNER: this user may attach to the tap too.
Outcome set_tap_owner(int fd, std::uint32_t uid);

struct Terminal {
  UniqueFd peer;
  int number;
};

/// Unlocks the terminal that /dev/ptmx gave, and opens its other side without a path (TIOCGPTPEER).
Result<Terminal> open_terminal_peer(int fd);

/// What the fd leads to: mode, device number of a device file.
struct FileKind {
  std::uint32_t mode;
  std::uint32_t major;
  std::uint32_t minor;
};
Result<FileKind> file_kind(int fd);

/// Sets or clears IFF_UP and leaves the interface's other flags as they are.
Outcome set_interface_up(const std::string& name, bool up);

}  // namespace ratchet
