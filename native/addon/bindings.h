// SPDX-License-Identifier: Apache-2.0
// What each binding file adds to the addon's exports. A binding converts arguments and errors and calls one function of native/sys.
#pragma once

#include <napi.h>

void register_messages(Napi::Env env, Napi::Object exports);
void register_doors(Napi::Env env, Napi::Object exports);
void register_flow_trail(Napi::Env env, Napi::Object exports);
void register_watch(Napi::Env env, Napi::Object exports);
void register_sockets(Napi::Env env, Napi::Object exports);
void register_files(Napi::Env env, Napi::Object exports);
void register_processes(Napi::Env env, Napi::Object exports);
void register_listener(Napi::Env env, Napi::Object exports);
void register_tighten(Napi::Env env, Napi::Object exports);
void register_self(Napi::Env env, Napi::Object exports);
