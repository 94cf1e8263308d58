// SPDX-License-Identifier: Apache-2.0
// The addon's exports, by subject. Their types are in native/index.ts.
#include "addon/bindings.h"

static Napi::Object initialize(Napi::Env env, Napi::Object exports) {
  register_tighten(env, exports);
  return exports;
}

NODE_API_MODULE(ratchet, initialize)
