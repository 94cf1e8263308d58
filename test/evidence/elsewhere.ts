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
    rule: /^\w+ exit$/,
    evidence:
      'a thread that may not end makes the call again and again and takes a processor; no operation fails of it',
    source: 'exit(2); glibc nptl/pthread_create.c, start_thread(): while (1) INTERNAL_SYSCALL_CALL (exit, 0)',
  },
  {
    rule: /^\w+ clock_gettime$/,
    evidence: 'the vDSO makes the call itself where it cannot read the clock (Xen, HPET, an unstable TSC)',
    source: 'Linux lib/vdso/gettimeofday.c: __cvdso_clock_gettime() falls back to clock_gettime_fallback()',
  },
  {
    rule: /^\w+ ioctl when .*TCGETS2/,
    evidence: 'tcgetattr() and tcsetattr() of glibc 2.42 and later',
    source:
      'glibc 2.42 NEWS: termios with arbitrary baud rates; `npm run matrix -- --debian sid --only pty` (glibc 2.43)',
  },
  {
    rule: /^\w+ ioctl when .*FS_IOC_FSGETXATTR/,
    evidence:
      'query-named-block-nodes of QEMU 8.0 and later asks each file for the size of extents it is meant to have',
    source: 'QEMU 8.0 qapi/block-core.json: ImageInfoSpecificFile; `npm run matrix -- --debian trixie --only bitmaps`',
  },
  {
    rule: /^\w+ open$/,
    evidence: 'open() of musl and of glibc before 2.26 is this call',
    source: 'musl src/fcntl/open.c: sys_open(); glibc 2.26 changed to openat',
  },
  {
    rule: /^\w+ fstat$/,
    evidence: 'fstat() of musl, of glibc before 2.33 and of 2.39 and later; glibc 2.36 here uses newfstatat',
    source:
      'glibc sysdeps/unix/sysv/linux/fstat64.c; musl src/stat/fstatat.c; `npm run matrix -- --debian trixie` (glibc 2.41)',
  },
  {
    rule: /^memory-hotplug: process fstatfs$/,
    evidence:
      'the page size of memory in huge pages, of which this machine has none: refused, QEMU takes 4096 and aligns the mapping to that',
    source: 'QEMU util/mmap-alloc.c: qemu_fd_getpagesize()',
  },
  {
    rule: /^\w+ exit_group$/,
    evidence:
      'the process ends; a test that takes it away ends by a signal instead, with the same status for all others',
    source: 'exit_group(2); glibc _exit() executes HLT when it is refused',
  },
  {
    rule: /^\w+ seccomp when /,
    evidence: 'the launcher installs each later stage by it; without it `sealed` cannot be entered, nor roles be given',
    source: 'core/policy/launchable.ts refuses such a profile before anything is started (test/policy)',
  },
  {
    rule: /^vcpu ioctl when .*TUNSETOFFLOAD/,
    evidence:
      "a guest's driver sets here what may come to it in segments longer than a frame; refused, all comes in frames, as it may on a busy machine anyway, so that no row can tell",
    source: 'QEMU 7.2 net/tap-linux.c: tap_fd_set_offload(); hw/net/virtio-net.c: virtio_net_set_features()',
  },
  {
    rule: /^vcpu ioctl when .*TIOCMGET/,
    evidence:
      'a serial port of the host has these lines; the pseudo-terminal here has none, and says so as a refusal does',
    source: 'QEMU 7.2 hw/char/serial.c: serial_update_msl(); chardev/char-serial.c: tty_serial_ioctl()',
  },
  {
    rule: /^(vcpu|io) munmap$/,
    evidence:
      'blocks of the allocator of 128 KB and more, and stacks of coroutines beyond those that are kept, go back by it; without, QEMU grows with each large request',
    source:
      'glibc malloc/malloc.c: munmap_chunk(); QEMU 7.2 util/qemu-coroutine.c, util/oslib-posix.c: qemu_free_stack()',
  },
  {
    rule: /^\w+ rt_sigreturn$/,
    evidence:
      'ends a signal handler, in whichever thread that is; QEMU blocks all signals that can be blocked on iothreads, and SIGBUS (memory that the host has lost) cannot be',
    source:
      'QEMU 7.2 util/qemu-thread-posix.c: qemu_thread_create() blocks all; softmmu/cpus.c: sigbus_handler(); sigreturn(2)',
  },
  {
    rule: /^aio-native: process io_destroy$/,
    evidence:
      'an iothread that ends with such a disk gives its context back; without, the kernel keeps it until QEMU ends',
    source: 'QEMU 7.2 block/linux-aio.c: laio_cleanup()',
  },
  {
    rule: /^dbus-display: process setsockopt when /,
    evidence: 'a GLib that takes who its client is from a message, as older ones do; 2.74 here asks the socket',
    source: 'GLib gio/gdbusauth.c: g_unix_connection_receive_credentials()',
  },
  {
    rule: /^iothreads: process epoll_pwait$/,
    evidence: 'epoll_wait() where there is no such call, and of musl; glibc on x86_64 makes epoll_wait',
    source: 'glibc sysdeps/unix/sysv/linux/epoll_wait.c; musl src/linux/epoll.c',
  },
  {
    rule: /^(vhost-user|virtiofs): vcpu poll$/,
    evidence: 'QEMU 7.2.0 waits for the answer in a main loop of its own; later ones do not',
    source: 'QEMU 7.2.0 hw/virtio/vhost-user.c: vhost_user_read(), reverted in 8.0 and by the updates of 7.2',
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

/** Where no refusal is told of, and why. */
export const unnamedFeatures: Readonly<Record<string, string>> = {
  balloon:
    'the refusal is quiet, since the allocator makes the same call in every thread that ends. No operation fails of it',
  discard:
    'the refusal is quiet, since it says what a file system without holes says; QEMU writes zeroes then, or lets discards be',
  'io-uring':
    "the refusal is quiet, since QEMU makes the call for each event loop and goes on without. QEMU's error has io_uring in it",
  iothreads: 'the refusal is quiet, since QEMU goes on by ppoll. No operation fails of it',
};
