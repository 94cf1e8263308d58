// SPDX-License-Identifier: Apache-2.0
// What leaves a trace: counters, one JSON line a decision, events to the launcher. A flood is summarised, and the summary says how many.
import { type Logger, pino } from 'pino';
import { type BrokerEvent, clip } from '../core/broker/protocol.ts';
import type { OwnedFd } from '../core/owned-fd.ts';
import type { BrokerRule, Source } from '../core/policy/types.ts';
import { errnoText } from './errno-text.ts';
import { LogFile } from './log-file.ts';
import type { GrantEnd, RuntimeGrant } from './runtime-grants.ts';
import { TokenBucket } from './token-bucket.ts';

/** Who asked: a thread of the VMM by a system call, the launcher (tid 0), or an agent (its process, and the name that the launcher gave it). */
export interface Asker {
  readonly door: 'vmm' | 'launcher' | 'agent';
  readonly tid: number;
  readonly thread: string;
}

export const launcherAsks: Asker = { door: 'launcher', tid: 0, thread: '' };

export interface Refusal {
  readonly asker: Asker;
  readonly stage: string;
  readonly syscall: string;
  readonly args: Readonly<Record<string, string | number>>;
  readonly errno: number;
  readonly rule: { readonly source: Source; readonly why: string } | undefined;
  readonly fix: string | null;
  /** Where the rules of a role decided. */
  readonly role?: string | undefined;
  readonly allowedIn?: string | null;
  readonly soak?: 'permitted' | 'enforced' | undefined;
  readonly call?: { readonly nr: number; readonly registers: readonly string[] } | undefined;
  readonly startedMs: number;
}

export interface Granted {
  readonly asker: Asker;
  readonly stage: string;
  readonly request: string;
  readonly target: string;
  /** 0 when it worked. */
  readonly errno: number;
  readonly rule: BrokerRule;
  readonly startedMs: number;
}

const summaryEveryMs = 1000;

export class Reporter {
  allowed = 0;
  denied = 0;
  onCount: () => void = () => undefined;
  /** Before anything is told: what was decided earlier and is not told yet. */
  catchUp: () => void = () => undefined;
  readonly #file: LogFile;
  readonly #log: Logger;
  readonly #send: (event: BrokerEvent) => void;
  // Refusals and grants apart: nobody hides a refusal behind a flood of grants.
  readonly #refusals = new TokenBucket({ burst: 200, perSecond: 50 });
  readonly #grants = new TokenBucket({ burst: 200, perSecond: 50 });
  #summary: NodeJS.Timeout | undefined;

  constructor(send: (event: BrokerEvent) => void, file = new LogFile()) {
    this.#send = send;
    this.#file = file;
    file.onLost = () => this.#summariseSoon();
    this.#log = pino({ base: { pid: process.pid }, timestamp: pino.stdTimeFunctions.isoTime }, file);
  }

  refusal(refusal: Refusal): void {
    if (refusal.soak === 'permitted') this.allowed += 1;
    else this.denied += 1;
    this.onCount();
    this.#catchUpBefore(this.#refusals);
    if (!this.#refusals.take()) {
      this.#summariseSoon();
      return;
    }
    const { asker, stage, role, syscall, errno, rule, fix, allowedIn, soak, call } = refusal;
    const more = { ...(role === undefined ? {} : { role }), ...(soak === undefined ? {} : { soak }) };
    const name = errnoText(errno);
    const args = Object.fromEntries(
      Object.entries(refusal.args).map(([key, value]) => [key, typeof value === 'string' ? clip(value, 512) : value]),
    );
    const found = rule === undefined ? null : { file: rule.source.file, line: rule.source.line, why: clip(rule.why) };
    this.#log.warn({
      verdict: soak === 'permitted' ? 'soak' : 'refused',
      ...asker,
      stage,
      syscall,
      args,
      errno: name,
      rule: ruleText(rule),
      us: sinceUs(refusal.startedMs),
    });
    this.#send({
      time: now(),
      type: 'refusal',
      stage,
      ...asker,
      syscall,
      args,
      errno: name,
      rule: found,
      fix: fix === null ? null : clip(fix),
      allowedIn: allowedIn ?? null,
      ...more,
      ...(call === undefined ? {} : { call: { nr: call.nr, registers: [...call.registers] } }),
    });
  }

  granted(granted: Granted): void {
    this.allowed += 1;
    this.onCount();
    this.#catchUpBefore(this.#grants);
    this.#tellGranted(granted, sinceUs(granted.startedMs));
  }

  /** Counted when it was decided. `us`: microseconds it took. */
  grantedByFlow(granted: Omit<Granted, 'startedMs'>, us: number): void {
    this.#tellGranted(granted, us);
  }

  /** So many grants more, of which nothing but their number is known. */
  countedOnly(count: number): void {
    this.#grants.holdBack(count);
    // Until there is room again nobody is told of what flows decide.
    if (count > 0 || !this.#grants.hasRoom) this.#summariseSoon();
  }

  /** Catching up may find that the launcher has gone, and end the broker: then this decision is in the last sum. */
  #catchUpBefore(told: TokenBucket): void {
    told.holdBack(1);
    this.catchUp();
    told.holdBack(-1);
  }

  #tellGranted(granted: Omit<Granted, 'startedMs'>, us: number): void {
    if (!this.#grants.take()) {
      this.#summariseSoon();
      return;
    }
    const { asker, stage, request, rule } = granted;
    const target = clip(granted.target);
    const outcome = granted.errno === 0 ? 'ok' : errnoText(granted.errno);
    this.#log.info({
      verdict: 'granted',
      ...asker,
      stage,
      request,
      target,
      outcome,
      errno: granted.errno === 0 ? null : errnoText(granted.errno),
      rule: ruleText(rule),
      us,
    });
    const found = { file: rule.source.file, line: rule.source.line, why: clip(rule.why) };
    this.#send({ time: now(), type: 'grant', stage, ...asker, request, target, outcome, rule: found });
  }

  /** A grant of the launcher came or went. */
  grantChanged(stage: string, { terms, parsed }: RuntimeGrant, outcome: 'added' | GrantEnd): void {
    this.catchUp();
    const { request, target } = terms;
    const { rule } = parsed;
    this.#log.info({ verdict: 'grant', ...launcherAsks, stage, request, target, outcome, rule: ruleText(rule) });
    const found = { file: rule.source.file, line: rule.source.line, why: clip(rule.why) };
    this.#send({
      time: now(),
      type: 'grant',
      stage,
      ...launcherAsks,
      request,
      target: clip(target),
      outcome,
      rule: found,
    });
  }

  /** Whether the next refusal is told, and not counted only. */
  get hasRoomForRefusal(): boolean {
    return this.#refusals.hasRoom;
  }

  /** The same for a grant. */
  get hasRoomForGrant(): boolean {
    return this.#grants.hasRoom;
  }

  /** Milliseconds until it is so; 0 when it is. */
  get roomForGrantInMs(): number {
    return this.#grants.roomInMs;
  }

  violation(stage: string, asker: Asker, words: string): void {
    this.catchUp();
    const { tid, thread } = asker;
    this.#log.error({ verdict: 'violation', stage, tid, thread, words });
    this.#send({ time: now(), type: 'violation', stage, tid, thread, words });
  }

  stage(stage: string, epoch: number): void {
    this.catchUp();
    this.#log.info({ verdict: 'stage', stage, epoch });
    this.#send({ time: now(), type: 'stage', stage, epoch, what: 'the broker judges by this stage' });
  }

  /** A line in the trail alone: the launcher told of it, and has it among its events. */
  programEnded(ended: {
    readonly program: string;
    readonly pid: number;
    readonly what: string;
    readonly killed: string | undefined;
  }): void {
    const { program, pid, what, killed } = ended;
    this.#log.info({ verdict: 'program', program, pid, what: clip(what, 512), killed: killed ?? null });
  }

  /** Takes the fd. */
  logTo(file: OwnedFd): void {
    this.catchUp();
    this.#file.use(file);
  }

  /** Something about the broker itself. */
  broker(
    what: string,
    detail: { readonly count?: number; readonly next?: string; readonly error?: unknown } = {},
  ): void {
    this.catchUp();
    const { error, ...told } = detail;
    this.#log.warn({ verdict: 'broker', what, ...told, error: error instanceof Error ? error.message : undefined });
    this.#send({ time: now(), type: 'broker', what: clip(what), ...told });
  }

  #summariseSoon(): void {
    this.#summary ??= setTimeout(() => this.summarise(), summaryEveryMs).unref();
  }

  /** Tells the sums of what was counted only: every second of a flood, and before the broker ends. */
  summarise(): void {
    clearTimeout(this.#summary);
    this.#summary = undefined;
    this.catchUp();
    this.#file.flush();
    // Each is taken when it is told: that may end the broker, which sums up what is left.
    this.#tellSum('log lines that could not be written', this.#file.drain());
    this.#tellSum('refusals that were counted only', this.#refusals.drain());
    this.#tellSum('grants that were counted only', this.#grants.drain());
  }

  #tellSum(what: string, count: number): void {
    if (count > 0) this.broker(what, { count });
  }
}

function ruleText(rule: { readonly source: Source } | undefined): string | null {
  return rule === undefined ? null : `${rule.source.file}:${rule.source.line}`;
}

function now(): string {
  return new Date().toISOString();
}

function sinceUs(startedMs: number): number {
  return Math.round((performance.now() - startedMs) * 1000);
}
