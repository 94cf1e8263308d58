// SPDX-License-Identifier: Apache-2.0
// What the machine must have before anything can be built, and how to tell that it is there. `present` lists files or commands,
// all of which must exist; they are looked for instead of the package names so that other distributions and own builds count too.

/**
 * `isStatic`: the programs in `present` must need no shared library, because they are copied into the guest alone.
 * @typedef {{ name: string, why: string, present: readonly string[], isStatic?: true }} DebianPackage
 */

/** @type {readonly DebianPackage[]} */
const demoPackages = [
  { name: 'g++', why: 'compiles the native addon and the stager', present: ['g++'] },
  { name: 'make', why: 'runs the native build', present: ['make'] },
  {
    name: 'python3',
    why: 'node-gyp generates the native build with it, and a test speaks to the broker from it',
    present: ['python3'],
  },
  { name: 'qemu-system-x86', why: 'the VMM that is sandboxed', present: ['qemu-system-x86_64'] },
  { name: 'busybox-static', why: "the guest's user space", present: ['busybox'], isStatic: true },
];

/** @type {readonly DebianPackage[]} */
const testPackages = [
  { name: 'cpio', why: "reads back the guest's initrd", present: ['cpio'] },
  { name: 'iproute2', why: "gives addresses to the tests' network namespaces", present: ['ip'] },
  { name: 'strace', why: 'shows from outside what QEMU calls', present: ['strace'] },
  { name: 'passt', why: 'the network card of a group', present: ['passt'] },
  { name: 'swtpm', why: 'the TPM of a group', present: ['swtpm'] },
  { name: 'qemu-utils', why: 'reads and writes what a storage daemon serves', present: ['qemu-io', 'qemu-img'] },
  { name: 'apparmor', why: 'compiles the AppArmor profiles that are exported', present: ['apparmor_parser'] },
  { name: 'checkpolicy', why: 'compiles the SELinux policy of a guest', present: ['checkpolicy'] },
  { name: 'crun', why: 'a container runtime that takes exported filters', present: ['crun'] },
  {
    name: 'systemd',
    why: 'reads exported units, and passes sockets',
    present: ['systemd-analyze', 'systemd-socket-activate'],
  },
  { name: 'openssl', why: "certificates and VNC's passwords", present: ['openssl'] },
  { name: 'musl-tools', why: 'another C library than Debian has its QEMU linked with', present: ['musl-gcc'] },
  { name: 'libseccomp-dev', why: 'the compiler that filters are compared with', present: ['/usr/include/seccomp.h'] },
  { name: 'seccomp', why: 'its resolver confirms the numbers of system calls', present: ['scmp_sys_resolver'] },
  {
    name: 'linux-libc-dev-arm64-cross',
    why: 'the kernel headers that the tables of aarch64 are compared with',
    present: ['/usr/aarch64-linux-gnu/include/asm/unistd.h'],
  },
  {
    name: 'g++-aarch64-linux-gnu',
    why: 'compiles the injection for aarch64, which cannot run here',
    present: ['aarch64-linux-gnu-g++'],
  },
  {
    name: 'linux-libc-dev-riscv64-cross',
    why: 'the kernel headers that the tables of riscv64 are compared with',
    present: ['/usr/riscv64-linux-gnu/include/asm/unistd.h'],
  },
];

/** @type {Readonly<Record<'demo' | 'test', readonly DebianPackage[]>>} */
export const requiredPackages = { demo: demoPackages, test: [...demoPackages, ...testPackages] };

/** The oldest Node that runs the code. Kept equal to "engines" in package.json by a test. */
export const oldestNode = [20, 17];

/** The meta package whose newest kernel is unpacked (never installed) for the guests. */
export const guestKernelPackage = 'linux-image-cloud-amd64';
