// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <napi.h>

#include "sys/result.h"
#include "sys/unique_fd.h"

namespace ratchet {

/// Leaves a pending JavaScript Error with `code`, `errno` and `syscall`; gives back the empty value to return.
Napi::Value throw_failure(Napi::Env env, Failure failure);

/// undefined, or the failure thrown.
Napi::Value undefined_or_throw(Napi::Env env, const Outcome& outcome);

/// The fd number, now JavaScript's to close, or the failure thrown.
Napi::Value fd_or_throw(Napi::Env env, Result<UniqueFd> result);

}  // namespace ratchet
