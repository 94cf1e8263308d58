// SPDX-License-Identifier: Apache-2.0
// The messages between a launcher and its broker, as brokers/PROTOCOL.md describes them: one msgpack map a packet, closed schemas in both directions.
import { z } from 'zod';
import { RatchetError } from '../errors.ts';
import { brokerRequestKinds } from '../policy/actions.ts';
import { pairKinds } from '../policy/resource.ts';
import { decodeFrame, encodeFrame } from './frame.ts';

export { type Confinement, decodeConfinement, encodeConfinement } from './confinement.ts';
export { brokerEnvironment, brokerNodeFlags } from './node-flags.ts';
export { decodeProfile, encodeProfile } from './profile-codec.ts';

export const protocolMagic = 'ratchet-broker';
export const protocolVersion = 1;

/** Size of the memory file in which a broker leaves what the next one needs. */
export const journalBytes = 256 * 1024;

/** What the broker holds itself to, told in its hello. */
export const protocolLimits = {
  maxRequestBytes: 4096,
  maxReplyBytes: 32_768,
  maxOutstanding: 64,
  maxTimeoutMs: 60_000,
  maxGrantMs: 24 * 60 * 60 * 1000,
  /** In one message. */
  maxThreads: 64,
} as const;

const maxTextBytes = 1024;
const maxId = 0xffff_ffff_ffff_ffffn;
const text = z.string().max(maxTextBytes);
/** u64, never 0. Small ones may arrive in a shorter msgpack form. */
const id = z.union([
  z.bigint().min(1n).max(maxId),
  z.number().int().min(1).max(Number.MAX_SAFE_INTEGER).transform(BigInt),
]);
const epoch = z.number().int().min(0).max(255);
const deviceNumber = z.number().int().min(0).max(0xf_ffff);
const userId = z.number().int().min(0).max(0xffff_fffe);
const agentName = z.string().regex(/^[\w.-]{1,32}$/);
const requestKind = z.enum(brokerRequestKinds);
const programName = z.string().regex(/^[a-z][a-z0-9-]{0,31}$/);
/** Of a program that the launcher is told to start. */
const orderNumber = z.number().int().min(1).max(Number.MAX_SAFE_INTEGER);
const roleName = z.string().min(1).max(32);
const clockTicks = z.union([
  z.number().int().min(0).max(Number.MAX_SAFE_INTEGER),
  z.bigint().min(0n).max(BigInt(Number.MAX_SAFE_INTEGER)).transform(Number),
]);
const timeoutMs = z.number().int().min(1).max(protocolLimits.maxTimeoutMs);

const socketOptions = {
  /** `stream` when absent. The others are for unix addresses, `seqpacket` also for vsock. */
  socket: z.enum(['stream', 'seqpacket', 'datagram']).optional(),
  keepAlive: z.boolean().optional(),
  /** Index of the network interface that a tcp socket is bound to (SO_BINDTOIFINDEX). */
  interfaceIndex: z.number().int().min(1).max(0x7fffffff).optional(),
} as const;

const request = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('connect'), id, address: text, timeoutMs, ...socketOptions }),
  /** `backlog` 0: no listen(2). */
  z.strictObject({
    type: z.literal('bind'),
    id,
    address: text,
    backlog: z.number().int().min(0).max(4096),
    ...socketOptions,
    /** SO_REUSEADDR of a tcp address; on when absent. */
    reuseAddress: z.boolean().optional(),
  }),
  z.strictObject({
    type: z.literal('open'),
    id,
    path: text,
    access: z.enum(['ro', 'rw', 'wo']),
    create: z.boolean().optional(),
    /** With `create`: it must not exist yet; the new file's permission bits, 0600 when absent. */
    exclusive: z.boolean().optional(),
    mode: z.number().int().min(0).max(0o777).optional(),
    truncate: z.boolean().optional(),
    append: z.boolean().optional(),
    direct: z.boolean().optional(),
  }),
  /** `multiQueue`: one queue of a device with several; ask again by the kernel's name for each further one. */
  z.strictObject({
    type: z.literal('tap'),
    id,
    name: z.string().max(15),
    /** One queue of a device that has several. */
    multiQueue: z.boolean().optional(),
    mtu: z.number().int().min(68).max(65_535).optional(),
    /** The user who may attach to it as well. */
    owner: z.number().int().min(0).max(0xffff_fffe).optional(),
    bridge: z.string().max(15).optional(),
  }),
  /** `kind`, `major` and `minor` are its name: the path is looked up, and the numbers are checked on what was opened. */
  z.strictObject({
    type: z.literal('device'),
    id,
    kind: z.enum(['char', 'block']),
    major: deviceNumber,
    minor: deviceNumber,
    access: z.enum(['ro', 'rw', 'wo']),
  }),
  z.strictObject({
    type: z.literal('memory'),
    id,
    bytes: z.number().int().min(1).max(Number.MAX_SAFE_INTEGER),
    seals: z
      .array(z.enum(['seal', 'shrink', 'grow', 'write']))
      .max(4)
      .optional(),
  }),
  z.strictObject({ type: z.literal('terminal'), id }),
  z.strictObject({ type: z.literal('pair'), id, kind: z.enum(pairKinds) }),
  /** Runs one of the profile's programs. `input` and `output`: files, granted by `open`, in place of its streams; the output is created or emptied. */
  z.strictObject({
    type: z.literal('exec'),
    id,
    program: programName,
    input: text.optional(),
    output: text.optional(),
  }),
  /** The answer to the `start` of that number: the program runs. Carries its pidfd. */
  z.strictObject({ type: z.literal('started'), id, number: orderNumber, pid: z.number().int().min(1) }),
  /** The program of that number could not be started (`errno`), or has ended. */
  z.strictObject({
    type: z.literal('ended'),
    id,
    number: orderNumber,
    errno: z.number().int().min(1).max(4095).optional(),
    /** How it ended, or why it could not be started, for people. */
    what: text,
  }),
  /** Removes the file of a unix socket that the broker made. */
  z.strictObject({ type: z.literal('release'), id, address: text }),
  z.strictObject({ type: z.literal('stage'), id, epoch }),
  /** Answered when the broker has taken from itself what its stage demands. */
  z.strictObject({ type: z.literal('settle'), id }),
  /**
   * Roles of threads, as [tid, when it started, role], and the least number of filters that a thread in a role has. `startAnew`: those told of before are
   * forgotten.
   */
  z.strictObject({
    type: z.literal('threads'),
    id,
    startAnew: z.boolean(),
    least: z.array(z.tuple([roleName, z.number().int().min(1).max(1000)])).max(16),
    threads: z.array(z.tuple([z.number().int().min(1), clockTicks, roleName])).max(protocolLimits.maxThreads),
  }),
  /** Within what the profile lets the launcher grant; holds until it is revoked, used up, too old, or its last stage is left. */
  z.strictObject({
    type: z.literal('grant'),
    id,
    request: requestKind,
    target: text,
    uses: z.number().int().min(1).max(1_000_000).optional(),
    forMs: z.number().int().min(1).max(protocolLimits.maxGrantMs).optional(),
    throughEpoch: epoch,
    until: z.string().max(200).optional(),
  }),
  z.strictObject({ type: z.literal('revoke'), id, grant: z.number().int().min(1) }),
  /** Carries the broker's end of a channel for another client, which may ask for what is judged, and for nothing else. */
  z.strictObject({ type: z.literal('agent'), id, name: agentName }),
  /** Carries a listening seqpacket socket: processes of these users become agents when they connect to it. */
  z.strictObject({ type: z.literal('agents'), id, name: agentName, users: z.array(userId).min(1).max(16) }),
  /** Carries the file that the log goes to from then on. */
  z.strictObject({ type: z.literal('log'), id }),
  /** Carries the VMM's seccomp listener, once. No other message but these, `agent`, `agents`, `log` and `started`, carries an fd to the broker. */
  z.strictObject({ type: z.literal('attachListener'), id }),
  z.strictObject({ type: z.literal('status'), id }),
  z.strictObject({ type: z.literal('shutdown'), id }),
]);

export type Request = z.infer<typeof request>;
export type RequestType = Request['type'];

const source = z.strictObject({ file: z.string(), line: z.number().int(), why: z.string() });
const failure = { what: z.string(), next: z.string().optional() };

/** Result classes are apart so that a refusal by policy is never taken for an error of the kernel. */
const result = z.discriminatedUnion('class', [
  z.strictObject({
    type: z.literal('result'),
    id,
    class: z.literal('ok'),
    value: z.strictObject({
      /** tap, terminal: the kernel's name; bind: the address as bound (with the kernel's port for port 0). */
      name: z.string().optional(),
      address: z.string().optional(),
      /** grant: its number, for `revoke`. */
      grant: z.number().int().optional(),
      /** exec: the process, the number by which the launcher knows it, and what the fds after its pidfd are. */
      program: z
        .strictObject({
          pid: z.number().int(),
          number: z.number().int(),
          streams: z.array(z.enum(['stdin', 'stdout', 'socket'])).max(2),
        })
        .optional(),
      status: z
        .strictObject({
          pid: z.number().int(),
          stage: z.string(),
          epoch: z.number().int(),
          allowed: z.number().int(),
          denied: z.number().int(),
          grants: z.array(
            z.strictObject({
              request: z.string(),
              target: z.string(),
              why: z.string(),
              file: z.string(),
              line: z.number().int(),
              /** Of those that the launcher gave while the VM runs: the number, and what is left of it. */
              grant: z.number().int().optional(),
              usesLeft: z.number().int().optional(),
              leftMs: z.number().int().optional(),
              throughStage: z.string().optional(),
              until: z.string().optional(),
            }),
          ),
          /** What may be granted while the VM runs. */
          mayGrant: z.array(z.strictObject({ request: z.string(), target: z.string() })),
          /** How many grants did not fit into the reply. */
          grantsLeftOut: z.number().int(),
          listener: z.enum(['none', 'attached', 'ended']),
          /** Those that run. */
          programs: z.array(z.strictObject({ program: z.string(), pid: z.number().int(), number: z.number().int() })),
          pending: z.number().int(),
        })
        .optional(),
    }),
  }),
  z.strictObject({
    type: z.literal('result'),
    id,
    class: z.literal('denied'),
    errno: z.number().int(),
    rule: source.nullable(),
    fix: z.string().nullable(),
    ...failure,
  }),
  /** Not possible in the stage that the broker is in. */
  z.strictObject({ type: z.literal('result'), id, class: z.literal('stage'), ...failure }),
  z.strictObject({ type: z.literal('result'), id, class: z.literal('busy'), ...failure }),
  z.strictObject({ type: z.literal('result'), id, class: z.literal('timeout'), ...failure }),
  z.strictObject({ type: z.literal('result'), id, class: z.literal('errno'), errno: z.number().int(), ...failure }),
]);

export type Result = z.infer<typeof result>;
export type OkValue = Extract<Result, { class: 'ok' }>['value'];
export type BrokerStatus = NonNullable<OkValue['status']>;

const time = z.string();
const argumentValue = z.union([z.string(), z.number()]);
const event = z.discriminatedUnion('type', [
  z.strictObject({
    time,
    type: z.literal('refusal'),
    stage: z.string(),
    /** Which way in: `vmm` is a call of the VMM itself, `launcher` a request on the channel (tid 0 then). */
    door: z.enum(['vmm', 'launcher', 'agent']),
    tid: z.number().int(),
    thread: z.string(),
    /** Where the rules of a role decided. */
    role: z.string().optional(),
    syscall: z.string(),
    args: z.record(z.string(), argumentValue),
    errno: z.string(),
    rule: source.nullable(),
    /** The profile line that would permit it. */
    fix: z.string().nullable(),
    /** The last earlier stage that permitted it. */
    allowedIn: z.string().nullable(),
    /** In a stage that is in soak: whether it was let through, or refused all the same. */
    soak: z.enum(['permitted', 'enforced']).optional(),
    /** The call itself, in registers of 16 hexadecimal digits; absent for a request on the channel. */
    call: z.strictObject({ nr: z.number().int(), registers: z.array(z.string()) }).optional(),
  }),
  /** More refusals than the launch permits: the VMM is killed. */
  z.strictObject({
    time,
    type: z.literal('violation'),
    stage: z.string(),
    tid: z.number().int(),
    thread: z.string(),
    words: z.string(),
  }),
  z.strictObject({
    time,
    type: z.literal('grant'),
    stage: z.string(),
    door: z.enum(['vmm', 'launcher', 'agent']),
    tid: z.number().int(),
    thread: z.string(),
    request: z.string(),
    target: z.string(),
    outcome: z.string(),
    rule: source.nullable(),
  }),
  z.strictObject({
    time,
    type: z.literal('broker'),
    what: z.string(),
    count: z.number().int().optional(),
    next: z.string().optional(),
  }),
  z.strictObject({ time, type: z.literal('stage'), stage: z.string(), epoch: z.number().int(), what: z.string() }),
]);

/** An unsolicited message: what was refused, what was granted, and what became of the broker itself. */
export type BrokerEvent = z.infer<typeof event>;
export type RefusalEvent = Extract<BrokerEvent, { type: 'refusal' }>;

const hello = z.strictObject({
  type: z.literal('hello'),
  magic: z.literal(protocolMagic),
  version: z.literal(protocolVersion),
  pid: z.number().int(),
  profile: z.string(),
  stage: z.string(),
  limits: z.strictObject({
    maxRequestBytes: z.number().int(),
    maxReplyBytes: z.number().int(),
    maxOutstanding: z.number().int(),
    maxTimeoutMs: z.number().int(),
    maxGrantMs: z.number().int(),
    maxThreads: z.number().int(),
  }),
  requests: z.array(z.string()),
});

export type Hello = z.infer<typeof hello>;

/** To the launcher alone: start this program now, with these fds as its streams (two, or one that is both). Answered by `started` or `ended`. */
const start = z.strictObject({ type: z.literal('start'), number: orderNumber, program: programName });

export type StartOrder = z.infer<typeof start>;

/** In place of the hello: the broker could not take away from itself what it does not need, and ends. `errno` of the call `syscall`. */
const unconfined = z.strictObject({
  type: z.literal('unconfined'),
  step: z.string().max(64),
  syscall: z.string().max(64),
  errno: z.number().int().min(1).max(4095),
});

export type Unconfined = z.infer<typeof unconfined>;

const serverMessage = z.union([hello, result, z.strictObject({ type: z.literal('event'), event }), start, unconfined]);

export type ServerMessage = z.infer<typeof serverMessage>;

export const encodeRequest = (message: Request): Uint8Array => encodeFrame(message);
export const encodeServerMessage = (message: ServerMessage): Uint8Array => encodeFrame(message);

/** @throws RatchetError BROKER_PROTOCOL: the sender of such a frame is cut off. */
export function decodeRequest(bytes: Uint8Array): Request {
  return decodeWith(request, bytes, protocolLimits.maxRequestBytes);
}

/** @throws RatchetError BROKER_PROTOCOL. */
export function decodeServerMessage(bytes: Uint8Array): ServerMessage {
  return decodeWith(serverMessage, bytes, protocolLimits.maxReplyBytes);
}

function decodeWith<T>(schema: z.ZodType<T>, bytes: Uint8Array, maxBytes: number): T {
  if (bytes.length === 0 || bytes.length > maxBytes)
    throw new RatchetError('BROKER_PROTOCOL', `a frame of ${bytes.length} bytes on the broker channel`, {
      next: `send 1 to ${maxBytes} bytes`,
    });
  let decoded: unknown;
  try {
    decoded = decodeFrame(bytes);
  } catch (cause) {
    throw new RatchetError('BROKER_PROTOCOL', 'a frame on the broker channel is not msgpack', { cause });
  }
  const checked = schema.safeParse(withPlainIntegers(decoded));
  if (checked.success) return checked.data;
  const issue = checked.error.issues[0];
  throw new RatchetError(
    'BROKER_PROTOCOL',
    `a frame on the broker channel has the wrong shape: ${issue?.message ?? 'unknown'}`,
    {
      next: 'see brokers/PROTOCOL.md',
    },
  );
}

/** A client may write any integer in any width; what fits a number becomes one, at the top, where requests have theirs. */
function withPlainIntegers(decoded: unknown): unknown {
  if (typeof decoded !== 'object' || decoded === null || Array.isArray(decoded)) return decoded;
  for (const [key, value] of Object.entries(decoded))
    if (typeof value === 'bigint' && BigInt.asIntN(53, value) === value)
      Object.assign(decoded, { [key]: Number(value) });
  return decoded;
}

/** Cut to what fits a message; only ever for texts that people read. */
export function clip(value: string, maxLength = maxTextBytes): string {
  return value.length <= maxLength ? value : `${value.slice(0, maxLength - 3)}...`;
}
