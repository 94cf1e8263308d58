// SPDX-License-Identifier: Apache-2.0
// What differs between architectures: registers, the syscall instruction, how an interrupted call goes on.
#pragma once

#if defined(__x86_64__)
#include "sys/tighten_arch_x86_64.h"
#elif defined(__aarch64__)
#include "sys/tighten_arch_aarch64.h"
#else
#error "tightening is written for x86_64 and aarch64"
#endif
