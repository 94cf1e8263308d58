// SPDX-License-Identifier: Apache-2.0
// Waits for ever and never reads: only who kills it ends it.
#include <poll.h>

int main(void) {
  return poll(0, 0, -1);
}
