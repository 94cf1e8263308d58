// SPDX-License-Identifier: Apache-2.0
// The addon's exports, by subject. Their types are in native/index.ts.
#include "addon/bindings.h"

static Napi::Object initialize(Napi::Env env, Napi::Object exports) {
  register_messages(env, exports);
  register_doors(env, exports);
  register_flow_trail(env, exports);
  register_watch(env, exports);
  register_sockets(env, exports);
  register_files(env, exports);
  register_processes(env, exports);
  register_listener(env, exports);
  register_tighten(env, exports);
  register_self(env, exports);
  return exports;
}

NODE_API_MODULE(ratchet, initialize)
