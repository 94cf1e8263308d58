// SPDX-License-Identifier: Apache-2.0
// The resolved policy: what the loader makes of a profile, and what the compiler, the verifier, the simulator, `explain`
// and the broker work from. Names are numbers here; every rule still knows the file and line it came from.
// Everything in this file is plain data, so a policy can be sent to the broker as msgpack.

export type Arch = 'x86_64' | 'aarch64' | 'riscv64';

/** What happens to a call. `broker`: the supervisor decides (allow, perform, or refuse) by the broker rules of the stage. */
export type Action =
  | { readonly kind: 'allow' }
  | { readonly kind: 'broker' }
  | { readonly kind: 'log' }
  /** `quiet`: answered by the kernel alone. Otherwise the first stage's refusals are answered by the supervisor, which can then report them. */
  | { readonly kind: 'errno'; readonly errno: number; readonly quiet: boolean }
  | { readonly kind: 'trap' }
  | { readonly kind: 'trace'; readonly data: number }
  | { readonly kind: 'kill-thread' }
  | { readonly kind: 'kill-process' };

/** Where a rule was written. Lines and columns count from 1. */
export interface Source {
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

/**
 * How the 64-bit register is read before it is compared.
 * `low32`: only the low word counts, as for `int` and `unsigned int` parameters, which the kernel truncates itself.
 * `zero32`: the low word, and the high word must be 0. `sign32`: the low word, and the high word must be its sign extension.
 * `full64`: the whole register.
 * Where the high half is not as `zero32` or `sign32` demand it, no test holds, not even `!=` (and `not` of the test does).
 */
export type Width = 'low32' | 'zero32' | 'sign32' | 'full64';

export type CompareOp = '==' | '!=' | '<' | '<=' | '>' | '>=';

/** A condition on the six arguments. Values are unsigned bit patterns of the width (32 or 64 bits). */
export type Condition =
  | { readonly kind: 'always' }
  | { readonly kind: 'never' }
  | {
      /** `(argument & mask) op value`; `signed` compares as two's complement (and then the mask must be all ones). */
      readonly kind: 'compare';
      readonly arg: number;
      readonly width: Width;
      readonly mask: bigint;
      readonly op: CompareOp;
      readonly value: bigint;
      readonly signed: boolean;
    }
  | { readonly kind: 'in'; readonly arg: number; readonly width: Width; readonly values: readonly bigint[] }
  | { readonly kind: 'and' | 'or'; readonly terms: readonly Condition[] }
  | { readonly kind: 'not'; readonly term: Condition };

/** One line of a profile, for one syscall. */
export interface Rule {
  readonly action: Action;
  readonly when: Condition;
  /** Text of `when` as written, empty when the rule has none. */
  readonly whenText: string;
  readonly why: string;
  readonly risk: string | undefined;
  readonly source: Source;
}

/**
 * All rules of one syscall in one stage and role. No two rules of different actions match the same arguments
 * (the loader refuses a contradiction), so order means nothing. When none matches, `otherwise` holds.
 */
export interface SyscallRules {
  readonly nr: number;
  readonly name: string;
  readonly rules: readonly Rule[];
  readonly otherwise: Action;
  /** The rule that was written with `when: otherwise`; absent when the stage's default holds. For reports: `otherwise` decides. */
  readonly otherwiseRule?: Rule | undefined;
}

/** The complete decision table of one stage for one role on one architecture. */
export interface FilterPolicy {
  readonly arch: Arch;
  /** Sorted by number, one entry a number. */
  readonly syscalls: readonly SyscallRules[];
  /** For numbers up to `lastKnownNr` without an entry. */
  readonly otherwise: Action;
  /** For numbers above `lastKnownNr`: ENOSYS in shipped profiles, so that newer libcs fall back. */
  readonly unknown: Action;
  readonly lastKnownNr: number;
  /** For foreign ABIs: another `arch` value, and x32 numbers (bit 30) on x86_64. */
  readonly foreign: Action;
}

/** A rule of the broker's table. `target` is the text as written: ADDR grammar for connect and bind, PATH[:ro] for open; see resource.ts for the others. */
export interface BrokerRule {
  readonly request: BrokerRequestKind;
  readonly target: string;
  /** Absent: granted. Present: refused with this errno, whatever other rule matches (e.g. ENOENT for the nscd socket). */
  readonly refuseErrno: number | undefined;
  /** Grants nothing by itself: the launcher may grant what lies within it while the VM runs. */
  readonly mayGrant?: boolean;
  readonly why: string;
  readonly source: Source;
}

export type BrokerRequestKind =
  | 'connect'
  | 'bind'
  | 'open'
  | 'tap'
  | 'device'
  | 'memory'
  | 'terminal'
  | 'pair'
  | 'exec';

/** A program that can be run for the VM, by its name. Nothing of how it is started comes from who asks for it. */
export interface NamedProgram {
  readonly name: string;
  /** Absolute. */
  readonly path: string;
  /** Without argv[0]. */
  readonly args: readonly string[];
  /** `streams`: stdin and stdout are a socket (or a file) each; `socket`: one socket is both. */
  readonly stdio: 'streams' | 'socket';
  /** The profile that confines it: a shipped one's name, or an absolute path. */
  readonly profile: string;
  /** It is killed when it has run for so long. */
  readonly seconds: number;
  /** How many of it may run together. */
  readonly atOnce: number;
  readonly why: string;
  readonly source: Source;
}

export interface Requirements {
  /** Kinds of descriptors, or paths of devices, that no thread may hold. */
  readonly noFds: readonly { readonly kind: string; readonly why: string; readonly source: Source }[];
  readonly noChildren: boolean;
  /** Every thread has the filters of the stages before. */
  readonly sameFilters: boolean;
}

export interface ResolvedStage {
  readonly name: string;
  /** Position in the profile, from 0. */
  readonly epoch: number;
  /** The whole process's filter; `roles` holds tighter ones by role name. */
  readonly filter: FilterPolicy;
  readonly roles: Readonly<Record<string, FilterPolicy>>;
  readonly broker: readonly BrokerRule[];
  /** True where grants added at launch do not hold (`grants: closed`). */
  readonly closedToGrants?: boolean | undefined;
  /** What must not be there when the stage is entered. */
  readonly requires?: Requirements | undefined;
  /** True where refusals are let through and reported. */
  readonly soak?: boolean | undefined;
}

/** What the launch found for the host names of the broker's rules: it stands for the VM's life. */
export type PinnedHosts = Readonly<Record<string, readonly string[]>>;

export interface ResolvedProfile {
  readonly name: string;
  readonly file: string;
  readonly vmm: string;
  readonly arch: Arch;
  readonly stages: readonly ResolvedStage[];
  readonly hosts?: PinnedHosts;
  /** What `exec` rules name. */
  readonly programs?: readonly NamedProgram[];
}

/** One call as the kernel shows it to a filter (struct seccomp_data). */
export interface SyscallCall {
  readonly nr: number;
  /** AUDIT_ARCH_* */
  readonly auditArch: number;
  readonly args: readonly [bigint, bigint, bigint, bigint, bigint, bigint];
  readonly instructionPointer?: bigint;
}

export interface Verdict {
  readonly action: Action;
  /** Absent when a default decided. */
  readonly rule: Rule | undefined;
  readonly syscall: SyscallRules | undefined;
}
