// SPDX-License-Identifier: Apache-2.0

import type { Arch, SyscallCall } from '../policy/types.ts';
import { auditArch } from '../simulator/call-data.ts';

/** A call for people: number, the arguments that are not 0, and the architecture when it is a foreign one. */
export function describeCall(call: SyscallCall, arch: Arch, nameOf?: (nr: number) => string | undefined): string {
  const values = call.args.flatMap((value, index) => (value === 0n ? [] : [`arg${index}=0x${value.toString(16)}`]));
  const abi = call.auditArch === auditArch[arch] ? '' : ` of arch 0x${call.auditArch.toString(16)}`;
  return `${nameOf?.(call.nr) ?? `syscall ${call.nr}`}(${values.join(', ')})${abi}`;
}
