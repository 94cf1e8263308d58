// SPDX-License-Identifier: Apache-2.0
// Reading /proc.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "sys/result.h"

namespace ratchet {

/// record: the kernel writes it in one go (single_open() in fs/proc), so a read that does not fill the buffer was the last. sequence: piece by piece, like maps.
enum class ProcFile { record, sequence };

/// The whole file, or why not. ENOENT or ESRCH: what it tells of is gone.
Result<std::string> read_proc(int directory, const std::string& path, ProcFile kind);

/// The names in a directory that are numbers. A listing of threads ends early when the one that it has reached ends.
Result<std::vector<int>> numbers_in(int directory, const std::string& path);

/// Gives each line "Name:\tvalue" to `take(name, value)`.
void each_field(std::string_view text, auto take) {
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos) continue;
    std::string_view value = line.substr(colon + 1);
    value.remove_prefix(std::min(value.find_first_not_of(" \t"), value.size()));
    take(line.substr(0, colon), value);
  }
}

/// Empty when there is no such line.
std::string_view field_of(std::string_view text, std::string_view wanted);

/// The number that the text begins with.
long number_in(std::string_view text, int base, long missing);

}  // namespace ratchet
