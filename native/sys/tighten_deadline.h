// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sched.h>

#include <algorithm>
#include <chrono>
#include <ctime>

namespace ratchet {

using Clock = std::chrono::steady_clock;

/// A point in time that bounds a wait.
class Deadline {
 public:
  explicit Deadline(std::chrono::nanoseconds from_now) : at_(Clock::now() + from_now) {}

  bool passed() const { return Clock::now() >= at_; }
  std::chrono::nanoseconds left() const { return std::max<std::chrono::nanoseconds>(at_ - Clock::now(), {}); }
  /// A part of what is left.
  Deadline share(int divisor) const { return Deadline(left() / divisor); }

 private:
  Clock::time_point at_;
};

/// One wait by polling: yields for 50 us, in which most stops arrive, then sleeps for 20 us, twice as long each time, up to 1 ms.
class Backoff {
 public:
  void pause() {
    if (Clock::now() < yield_until_) {
      ::sched_yield();
      return;
    }
    const timespec nap{0, sleep_.count()};
    ::nanosleep(&nap, nullptr);
    sleep_ = std::min<std::chrono::nanoseconds>(sleep_ * 2, std::chrono::milliseconds(1));
  }

  bool yielding() const { return Clock::now() < yield_until_; }

 private:
  Clock::time_point yield_until_ = Clock::now() + std::chrono::microseconds(50);
  std::chrono::nanoseconds sleep_ = std::chrono::microseconds(20);
};

}  // namespace ratchet
