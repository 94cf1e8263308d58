// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace ratchet {

/// A step that did not succeed, by its name.
struct StepFailure {
  const char* step;
  int error;
};

}  // namespace ratchet
