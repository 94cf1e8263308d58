// SPDX-License-Identifier: Apache-2.0
import { RatchetError } from '../errors.ts';

/** include/uapi/linux/capability.h, in the order of their numbers. */
const names = [
  'CHOWN', 'DAC_OVERRIDE', 'DAC_READ_SEARCH', 'FOWNER', 'FSETID', 'KILL', 'SETGID', 'SETUID', 'SETPCAP', 'LINUX_IMMUTABLE',
  'NET_BIND_SERVICE', 'NET_BROADCAST', 'NET_ADMIN', 'NET_RAW', 'IPC_LOCK', 'IPC_OWNER', 'SYS_MODULE', 'SYS_RAWIO', 'SYS_CHROOT',
  'SYS_PTRACE', 'SYS_PACCT', 'SYS_ADMIN', 'SYS_BOOT', 'SYS_NICE', 'SYS_RESOURCE', 'SYS_TIME', 'SYS_TTY_CONFIG', 'MKNOD', 'LEASE',
  'AUDIT_WRITE', 'AUDIT_CONTROL', 'SETFCAP', 'MAC_OVERRIDE', 'MAC_ADMIN', 'SYSLOG', 'WAKE_ALARM', 'BLOCK_SUSPEND', 'AUDIT_READ',
  'PERFMON', 'BPF', 'CHECKPOINT_RESTORE',
]; // biome-ignore format: ten a line

/** Bit n for capability n, as /proc shows the sets. @throws RatchetError ARGUMENT_INVALID for a name that is none. */
export function capabilityBits(wanted: readonly string[]): bigint {
  return wanted.reduce((bits, name) => {
    const number = names.indexOf(name.replace(/^CAP_/, ''));
    if (number >= 0) return bits | (1n << BigInt(number));
    throw new RatchetError('ARGUMENT_INVALID', `there is no capability ${name}`, {
      next: 'capabilities(7) lists them, CAP_NET_ADMIN for one',
    });
  }, 0n);
}

export function capabilityNames(bits: bigint): readonly string[] {
  return names.filter((_, number) => ((bits >> BigInt(number)) & 1n) === 1n).map((name) => `CAP_${name}`);
}
