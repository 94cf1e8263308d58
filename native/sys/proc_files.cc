// SPDX-License-Identifier: Apache-2.0
#include "sys/proc_files.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <cctype>
#include <charconv>
#include <cstdlib>
#include <memory>

#include "sys/unique_fd.h"

namespace ratchet {

Result<std::string> read_proc(int directory, const std::string& path, ProcFile kind) {
  const UniqueFd fd(::openat(directory, path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return last_failure("open");
  std::string text;
  char buffer[4096];
  for (;;) {
    const ssize_t count = ::read(fd.get(), buffer, sizeof buffer);
    // ESRCH: it ended meanwhile. What was read of it says nothing.
    if (count < 0) return last_failure("read");
    text.append(buffer, static_cast<std::size_t>(count));
    if (count == 0 || (kind == ProcFile::record && static_cast<std::size_t>(count) < sizeof buffer)) return text;
  }
}

Result<std::vector<int>> numbers_in(int directory, const std::string& path) {
  UniqueFd fd(::openat(directory, path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return last_failure("open");
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(fd.get()), ::closedir);
  if (!stream) return last_failure("open");
  (void)fd.release();  // The stream's now.
  std::vector<int> found;
  while (const dirent* entry = ::readdir(stream.get()))
    if (std::isdigit(static_cast<unsigned char>(entry->d_name[0]))) found.push_back(std::atoi(entry->d_name));
  return found;
}

std::string_view field_of(std::string_view text, std::string_view wanted) {
  std::string_view found;
  each_field(text, [&](std::string_view name, std::string_view value) {
    if (name == wanted) found = value;
  });
  return found;
}

long number_in(std::string_view text, int base, long missing) {
  unsigned long value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  return error == std::errc() ? static_cast<long>(value) : missing;
}

}  // namespace ratchet
