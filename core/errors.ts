// SPDX-License-Identifier: Apache-2.0
// One table of everything ratchet can fail with. `kind` tells whose move is next: the caller's (misuse), the machine owner's
// (unsupported, kernel), the profile author's (refused), or ours (bug).

export type ErrorKind = 'misuse' | 'unsupported' | 'kernel' | 'refused' | 'bug';

/** Codes, what each means and who can mend it. */
export const errorTable = {
  PROFILE_INVALID: 'misuse',
  PROFILE_NOT_FOUND: 'misuse',
  GROUP_INVALID: 'misuse',
  ADDRESS_INVALID: 'misuse',
  ARGUMENT_INVALID: 'misuse',
  STAGE_UNKNOWN: 'misuse',
  STAGE_BACKWARDS: 'misuse',
  VMM_NOT_FOUND: 'misuse',
  VMM_ARGUMENT_CONFLICT: 'misuse',
  VMM_EXITED: 'kernel',
  FILTER_TOO_LARGE: 'misuse',
  FILTER_UNPROVEN: 'bug',
  STAGER_FAILED: 'kernel',
  INJECTION_FAILED: 'kernel',
  PRECONDITION_FAILED: 'refused',
  VERIFICATION_FAILED: 'kernel',
  CGROUP_FAILED: 'kernel',
  SELF_FAILED: 'kernel',
  BROKER_DIED: 'kernel',
  BROKER_PROTOCOL: 'bug',
  BROKER_TIMEOUT: 'kernel',
  REQUEST_REFUSED: 'refused',
  REQUEST_FAILED: 'kernel',
  QMP_ERROR: 'kernel',
  QMP_TIMEOUT: 'kernel',
  QMP_CLOSED: 'kernel',
  MIGRATION_FAILED: 'kernel',
  GUEST_SILENT: 'kernel',
  CONTROL_FAILED: 'kernel',
  SETUP_MISSING: 'unsupported',
  KERNEL_UNSUPPORTED: 'unsupported',
} as const satisfies Record<string, ErrorKind>;

export type ErrorCode = keyof typeof errorTable;

export interface ErrorDetail {
  /** POSIX name, e.g. EACCES. */
  readonly errno?: string;
  /** What to do next, one sentence. */
  readonly next?: string;
  readonly cause?: unknown;
}

/** Every error that ratchet throws on purpose. The message names what was attempted, on what, what was found, and what to do next. */
export class RatchetError extends Error {
  override readonly name = 'RatchetError';
  readonly code: ErrorCode;
  readonly kind: ErrorKind;
  readonly errno: string | undefined;
  readonly next: string | undefined;

  constructor(code: ErrorCode, what: string, detail: ErrorDetail = {}) {
    const parts = [what];
    if (detail.errno !== undefined && !what.includes(detail.errno)) parts.push(`(${detail.errno})`);
    if (detail.next !== undefined) parts.push(`- ${detail.next}`);
    super(parts.join(' '), detail.cause === undefined ? undefined : { cause: detail.cause });
    this.code = code;
    this.kind = errorTable[code];
    this.errno = detail.errno;
    this.next = detail.next;
  }
}
