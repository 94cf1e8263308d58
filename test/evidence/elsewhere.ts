// SPDX-License-Identifier: Apache-2.0
// Rules that no operation on this machine makes use of: they are for another C library, kernel or processor, or for what a test cannot bring about. Each with
// what makes the call, and where that is written.

interface Elsewhere {
  /** Matched against the rule's key. */
  readonly rule: RegExp;
  readonly evidence: string;
  readonly source: string;
}

export const elsewhere: readonly Elsewhere[] = [
  {
    rule: / exit$/,
    evidence:
      'a thread that may not end makes the call again and again and takes a processor; no operation fails of it',
    source: 'exit(2); glibc nptl/pthread_create.c, start_thread(): while (1) INTERNAL_SYSCALL_CALL (exit, 0)',
  },
  {
    rule: / clock_gettime$/,
    evidence: 'the vDSO makes the call itself where it cannot read the clock (Xen, HPET, an unstable TSC)',
    source: 'Linux lib/vdso/gettimeofday.c: __cvdso_clock_gettime() falls back to clock_gettime_fallback()',
  },
  {
    rule: / ioctl when .*TCGETS2/,
    evidence: 'tcgetattr() and tcsetattr() of glibc 2.42 and later',
    source:
      'glibc 2.42 NEWS: termios with arbitrary baud rates; `npm run matrix -- --debian sid --only pty` (glibc 2.43)',
  },
  {
    rule: / ioctl when .*FS_IOC_FSGETXATTR/,
    evidence:
      'query-named-block-nodes of QEMU 8.0 and later asks each file for the size of extents it is meant to have',
    source: 'QEMU 8.0 qapi/block-core.json: ImageInfoSpecificFile; `npm run matrix -- --debian trixie --only bitmaps`',
  },
  {
    rule: / open$/,
    evidence: 'open() of musl and of glibc before 2.26 is this call',
    source: 'musl src/fcntl/open.c: sys_open(); glibc 2.26 changed to openat',
  },
  {
    rule: / fstat$/,
    evidence: 'fstat() of musl, of glibc before 2.33 and of 2.39 and later; glibc 2.36 here uses newfstatat',
    source:
      'glibc sysdeps/unix/sysv/linux/fstat64.c; musl src/stat/fstatat.c; `npm run matrix -- --debian trixie` (glibc 2.41)',
  },
  {
    rule: / exit_group$/,
    evidence:
      'the process ends; a test that takes it away ends by a signal instead, with the same status for all others',
    source: 'exit_group(2); glibc _exit() executes HLT when it is refused',
  },
  {
    rule: / seccomp when /,
    evidence: 'the launcher installs each later stage by it; without it `sealed` cannot be entered, nor roles be given',
    source: 'core/policy/launchable.ts refuses such a profile before anything is started (test/policy)',
  },
  {
    rule: /^io /,
    evidence:
      'a node on an iothread may be a file of any format or a connection (NBD), which workers of this thread make again when it is lost; the row here has a raw file',
    source:
      'QEMU 7.2 block/nbd.c: nbd_co_do_establish_connection(); util/thread-pool.c: workers are made by the thread that has work',
  },
];

/** Features that no row on this machine can show. */
export const featuresElsewhere: Readonly<Record<string, { readonly evidence: string; readonly source: string }>> = {
  'migration-file': {
    evidence: 'migration to file: URIs, QEMU 8.2 and later; the file is sized for mapped-ram',
    source: 'QEMU 9.0 migration/file.c, migration/ram.c: ftruncate in file_start_outgoing_migration',
  },
  graphics: {
    evidence: 'QEMU 10 and later keep a picture in a memfd, and end where they get none; 7.2 here does not',
    source:
      'QEMU 10.0 ui/console.c; a launch without it is refused: `npm run matrix -- --debian trixie`, core/qemu/needs.ts',
  },
  'vhost-net': {
    evidence: 'this kernel has no /dev/vhost-net',
    source: 'Linux include/uapi/linux/vhost.h; QEMU hw/virtio/vhost-backend.c',
  },
  'vhost-vsock': { evidence: 'this kernel has no /dev/vhost-vsock', source: 'QEMU hw/virtio/vhost-vsock.c' },
  'usb-host': { evidence: 'this machine has no USB', source: 'libusb libusb/os/linux_usbfs.c' },
  vfio: { evidence: 'this machine has no IOMMU', source: 'QEMU hw/vfio/common.c, hw/vfio/pci.c' },
  'dirty-ring': {
    evidence: "KVM's dirty ring; its reader waits by sleep(1)",
    source: 'QEMU accel/kvm/kvm-all.c: kvm_dirty_ring_reaper_thread()',
  },
  musl: {
    evidence:
      'Debian has no QEMU with musl; a program that is linked with musl runs under it (test/evidence/libc.test.ts)',
    source: 'musl src/thread/pthread_kill.c, src/time/nanosleep.c',
  },
  membarrier: { evidence: 'a QEMU built with --enable-membarrier', source: 'QEMU util/sys_membarrier.c' },
};
