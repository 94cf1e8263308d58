# SPDX-License-Identifier: Apache-2.0
# Three products in build/Release: the addon (ratchet.node), the stager (ratchet-stager) and what `ratchet doctor` asks the kernel with
# (ratchet-probe). Built by core/setup/build-native.mjs.
{
  'target_defaults': {
    'cflags!': ['-Wno-unused-parameter'],
    'cflags_cc!': ['-std=gnu++17'],
    'cflags_cc': [
      '-std=c++20', '-Wall', '-Wextra', '-Wpedantic', '-Werror',
      '-fvisibility=hidden', '-fstack-protector-strong',
    ],
  },
  'targets': [
    {
      'target_name': 'ratchet',
      'sources': ['<!@(ls native/addon/*.cc native/sys/*.cc)'],
      'include_dirs': ['native'],
      # A system directory, so that our warnings judge our code only.
      'cflags_cc': ['-isystem', '<!(node -p "require(\'node:path\').dirname(require.resolve(\'node-addon-api\'))")'],
      'defines': ['NAPI_VERSION=9', 'NAPI_DISABLE_CPP_EXCEPTIONS', 'NODE_ADDON_API_DISABLE_DEPRECATED', '_GNU_SOURCE'],
      'ldflags': ['-Wl,-z,relro,-z,now'],
    },
    {
      'target_name': 'ratchet-stager',
      'type': 'executable',
      'sources': ['<!@(ls native/stager/*.cc)'],
      'defines': ['_GNU_SOURCE'],
      # Static: it runs before anything is confined, so it loads no library of anyone's choosing and starts fast.
      'ldflags!': ['-rdynamic', '-pthread'],
      'ldflags': ['-static-pie', '-Wl,-z,relro,-z,now'],
    },
    {
      'target_name': 'ratchet-probe',
      'type': 'executable',
      'sources': ['<!@(ls native/probe/*.cc)'],
      'defines': ['_GNU_SOURCE'],
      'ldflags!': ['-rdynamic'],
      'ldflags': ['-static-pie', '-Wl,-z,relro,-z,now'],
    },
  ],
}
