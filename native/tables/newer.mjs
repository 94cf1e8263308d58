// SPDX-License-Identifier: Apache-2.0
// What kernels after Debian 12's headers (6.1) added, by hand. A row leaves this file when the headers have it.
// Source: the kernel's scripts/syscall.tbl and arch/x86/entry/syscalls/syscall_64.tbl, the release in which each appeared beside it.

/** Numbers from 424 on are the same on every architecture. */
export const newerSyscalls = {
  cachestat: 451, // 6.5
  fchmodat2: 452, // 6.6
  map_shadow_stack: 453, // 6.6
  futex_wake: 454, // 6.7
  futex_wait: 455, // 6.7
  futex_requeue: 456, // 6.7
  statmount: 457, // 6.8
  listmount: 458, // 6.8
  lsm_get_self_attr: 459, // 6.8
  lsm_set_self_attr: 460, // 6.8
  lsm_list_modules: 461, // 6.8
  mseal: 462, // 6.10
  setxattrat: 463, // 6.13
  getxattrat: 464, // 6.13
  listxattrat: 465, // 6.13
  removexattrat: 466, // 6.13
  open_tree_attr: 467, // 6.15
  file_getattr: 468, // 6.17
  file_setattr: 469, // 6.17
};

/** Numbers that one architecture has added. */
export const newerSyscallsOf = {
  x86_64: {
    uretprobe: 335, // 6.11
    uprobe: 336, // 6.18
  },
  aarch64: {},
  riscv64: {
    riscv_hwprobe: 258, // 6.4
  },
};

/** Constants, with the header and release that define them. */
export const newerConstants = {
  MADV_GUARD_INSTALL: 102n, // asm-generic/mman-common.h, 6.13
  MADV_GUARD_REMOVE: 103n, // asm-generic/mman-common.h, 6.13
  MAP_DROPPABLE: 0x08n, // linux/mman.h, 6.11
  MFD_NOEXEC_SEAL: 0x0008n, // linux/memfd.h, 6.3
  MFD_EXEC: 0x0010n, // linux/memfd.h, 6.3
  PR_SET_MDWE: 65n, // linux/prctl.h, 6.3
  PR_GET_MDWE: 66n, // linux/prctl.h, 6.3
  PR_SET_MEMORY_MERGE: 67n, // linux/prctl.h, 6.4
  PR_GET_MEMORY_MERGE: 68n, // linux/prctl.h, 6.4
  PR_GET_SHADOW_STACK_STATUS: 74n, // linux/prctl.h, 6.13
  PR_SET_SHADOW_STACK_STATUS: 75n, // linux/prctl.h, 6.13
  PR_LOCK_SHADOW_STACK_STATUS: 76n, // linux/prctl.h, 6.13
  PR_FUTEX_HASH: 78n, // linux/prctl.h, 6.16
  F_DUPFD_QUERY: 1027n, // linux/fcntl.h, 6.10
  F_CREATED_QUERY: 1028n, // linux/fcntl.h, 6.12
  KVM_SET_USER_MEMORY_REGION2: 0x40a0ae49n, // linux/kvm.h, 6.8: _IOW(0xAE, 0x49, 160 bytes)
  KVM_SET_MEMORY_ATTRIBUTES: 0x4020aed2n, // linux/kvm.h, 6.8: _IOW(0xAE, 0xd2, 32 bytes)
  KVM_CREATE_GUEST_MEMFD: 0xc040aed4n, // linux/kvm.h, 6.8: _IOWR(0xAE, 0xd4, 64 bytes)
};

/** Parameter lists of the calls above, as in the kernel's include/linux/syscalls.h of the release. */
export const newerPrototypes = {
  cachestat: 'unsigned int fd, struct cachestat_range *cstat_range, struct cachestat *cstat, unsigned int flags',
  fchmodat2: 'int dfd, const char *filename, umode_t mode, unsigned int flags',
  map_shadow_stack: 'unsigned long addr, unsigned long size, unsigned int flags',
  futex_wake: 'void *uaddr, unsigned long mask, int nr, unsigned int flags',
  futex_wait:
    'void *uaddr, unsigned long val, unsigned long mask, unsigned int flags, struct timespec *timespec, clockid_t clockid',
  futex_requeue: 'struct futex_waitv *waiters, unsigned int flags, int nr_wake, int nr_requeue',
  statmount: 'const struct mnt_id_req *req, struct statmount *buf, size_t bufsize, unsigned int flags',
  listmount: 'const struct mnt_id_req *req, u64 *mnt_ids, size_t nr_mnt_ids, unsigned int flags',
  lsm_get_self_attr: 'unsigned int attr, struct lsm_ctx *ctx, u32 *size, u32 flags',
  lsm_set_self_attr: 'unsigned int attr, struct lsm_ctx *ctx, u32 size, u32 flags',
  lsm_list_modules: 'u64 *ids, u32 *size, u32 flags',
  mseal: 'unsigned long start, size_t len, unsigned long flags',
  setxattrat:
    'int dfd, const char *path, unsigned int at_flags, const char *name, const struct xattr_args *args, size_t size',
  getxattrat:
    'int dfd, const char *path, unsigned int at_flags, const char *name, struct xattr_args *args, size_t size',
  listxattrat: 'int dfd, const char *path, unsigned int at_flags, char *list, size_t size',
  removexattrat: 'int dfd, const char *path, unsigned int at_flags, const char *name',
  open_tree_attr: 'int dfd, const char *path, unsigned flags, struct mount_attr *uattr, size_t usize',
  file_getattr: 'int dfd, const char *filename, struct file_attr *attr, size_t usize, unsigned int at_flags',
  file_setattr: 'int dfd, const char *filename, struct file_attr *attr, size_t usize, unsigned int at_flags',
  uretprobe: '',
  uprobe: '',
  riscv_hwprobe:
    'struct riscv_hwprobe *pairs, size_t pair_count, size_t cpu_count, unsigned long *cpus, unsigned int flags',
  riscv_flush_icache: 'unsigned long start, unsigned long end, unsigned long flags',
};
