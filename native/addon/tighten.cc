// SPDX-License-Identifier: Apache-2.0
#include "addon/bindings.h"

void register_tighten(Napi::Env, Napi::Object) {}
