// SPDX-License-Identifier: Apache-2.0
import { setTimeout as delay } from 'node:timers/promises';
import { deferred } from '../deferred.ts';
import { RatchetError } from '../errors.ts';
import type { EventStream } from '../launch/events.ts';
import { describeExit, type ExitStatus } from '../launch/exit-status.ts';
import type { EnforcementReport } from '../launch/report.ts';
import type { Sandbox } from '../launch/sandbox.ts';
import type { OwnedFd } from '../owned-fd.ts';
import type { Vmm } from '../vmm/vmm.ts';
import { Member, type MemberOptions } from './member.ts';
import { type GroupSpec, type MemberSpec, type OnEnd, portName } from './spec.ts';
import { Wires } from './wires.ts';

export interface GroupParts {
  readonly spec: GroupSpec;
  /** By member. */
  readonly options: Readonly<Record<string, MemberOptions>>;
  readonly events: EventStream;
  readonly deadlineMs: number;
}

/** Why a group has ended: by its launcher (`member` is undefined), or by the end of a member that the others do not outlive. */
export interface GroupEnd {
  readonly member: string | undefined;
  readonly status: ExitStatus;
  readonly words: string;
}

/** What holds for each member right now. */
export interface GroupReport {
  readonly group: string;
  readonly ok: boolean;
  readonly members: Readonly<Record<string, EnforcementReport>>;
}

/** Processes that were started, tightened and linked together. Made by `launchGroup()`; `await using` stops it. */
export class Group implements AsyncDisposable {
  readonly events: EventStream;
  /** Settles when nothing of it runs any more. */
  readonly exited: Promise<GroupEnd>;
  readonly #spec: GroupSpec;
  readonly #wires: Wires;
  readonly #members: Map<string, Member>;
  readonly #makeMember: (spec: MemberSpec) => Member;
  readonly #giveUp = new AbortController();
  readonly #end = deferred<GroupEnd>();
  readonly #gone = new Set<Member>();
  readonly #work = new Set<Promise<void>>();
  #phase: 'starting' | 'running' | 'stopping' = 'starting';
  #stopped: Promise<void> | undefined;

  constructor({ spec, options, events, deadlineMs }: GroupParts) {
    this.#spec = spec;
    this.events = events;
    this.exited = this.#end.promise;
    const wires = new Wires(spec.links);
    this.#wires = wires;
    const { signal } = this.#giveUp;
    this.#makeMember = (member) =>
      new Member({ spec: member, wires, options: options[member.name] ?? {}, events, deadlineMs, signal });
    this.#members = new Map(spec.members.map((member) => [member.name, this.#makeMember(member)]));
  }

  get name(): string {
    return this.#spec.name;
  }

  get members(): readonly string[] {
    return [...this.#members.keys()];
  }

  /** The member's present sandbox; another one after a restart. @throws RatchetError ARGUMENT_INVALID. */
  member(name: string): Sandbox<Vmm> {
    return this.#find(name).sandbox;
  }

  /** How often the member was started. */
  starts(name: string): number {
    return this.#find(name).starts;
  }

  /** Servers first, each set up before the next is started; then all are tightened and verified; then the guest runs. */
  async start(signal: AbortSignal | undefined): Promise<void> {
    const abort = (): void => this.#giveUp.abort(signal?.reason);
    if (signal?.aborted === true) abort();
    signal?.addEventListener('abort', abort, { once: true });
    try {
      for (const member of this.#members.values()) {
        this.#follow(member, await member.start());
        await this.#unlessGivenUp(member.answers());
        this.#wires.show(member.name);
      }
      await this.#unlessGivenUp(Promise.all([...this.#members.values()].map((member) => member.tighten())));
      this.#phase = 'running';
      for (const member of this.#members.values()) await this.#unlessGivenUp(member.letRun());
    } finally {
      signal?.removeEventListener('abort', abort);
    }
  }

  /**
   * Adds servers to the running group, for devices that are plugged into a client: each is set up, tightened and verified, and then the clients' ends of the pairs
   * are given back by their ports (`vmm.net1`), to be plugged in as `hotplug.addNic({ id, fd })` does.
   * @throws RatchetError GROUP_INVALID, or of a launch; nothing of what was added is left then.
   */
  async add({ members, links }: GroupSpec): Promise<ReadonlyMap<string, OwnedFd>> {
    const taken = members.find(({ name }) => this.#members.has(name));
    if (taken !== undefined)
      throw new RatchetError('GROUP_INVALID', `the group ${this.name} has a member ${taken.name} already`);
    for (const link of links) this.#wires.add(link);
    const added = members.map((spec) => this.#makeMember(spec));
    try {
      for (const member of added) {
        const sandbox = await member.start();
        await this.#unlessGivenUp(member.answers());
        await member.tighten();
        await member.letRun();
        this.#members.set(member.name, member);
        this.#follow(member, sandbox);
      }
      return new Map(links.map(({ client }) => [portName(client), this.#wires.take(client)]));
    } catch (error) {
      for (const member of added) {
        this.#members.delete(member.name);
        await member.close();
        member[Symbol.dispose]();
      }
      throw error;
    }
  }

  /** Reads every thread of every member again. */
  async attest(): Promise<GroupReport> {
    const reports = await Promise.all(
      [...this.#members.values()].map(async (member) => [member.name, await member.sandbox.attest()] as const),
    );
    return { group: this.name, ok: reports.every(([, { ok }]) => ok), members: Object.fromEntries(reports) };
  }

  /** Clients first, then their servers. Nothing of the group is left afterwards. May be called twice. */
  async stop(): Promise<void> {
    await this.#stop({ member: undefined, status: { code: 0, signal: null }, words: 'the group was stopped' });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  #stop(end: GroupEnd): Promise<void> {
    this.#stopped ??= this.#stopNow(end);
    return this.#stopped;
  }

  async #stopNow(end: GroupEnd): Promise<void> {
    this.#phase = 'stopping';
    this.#giveUp.abort(new RatchetError('VMM_EXITED', end.words));
    await Promise.allSettled(this.#work);
    for (const member of [...this.#members.values()].reverse()) await member.close();
    for (const member of this.#members.values()) member[Symbol.dispose]();
    this.#wires[Symbol.dispose]();
    this.events.close();
    this.#end.resolve(end);
  }

  #follow(member: Member, sandbox: Sandbox<Vmm>): void {
    void sandbox.exited.then((status) => {
      if (this.#phase === 'stopping' || this.#members.get(member.name) !== member) return;
      const words = `member ${member.name} ${describeExit(status)}`;
      if (this.#phase === 'starting')
        return this.#giveUp.abort(new RatchetError('VMM_EXITED', `${words} while the group was started`));
      this.#wires.hide(member.name);
      this.#inBackground(this.#onEnd(member, status, words));
    });
  }

  /** Its broker has to be gone before another takes its place. */
  async #onEnd(member: Member, status: ExitStatus, words: string): Promise<void> {
    await member.sandbox.kill();
    const { onEnd } = member.spec;
    const tell = (next: string): void =>
      this.events.emit('member', { member: member.name, what: 'ended', ...status, words, next });
    const stops = (why: string): void => {
      tell(why);
      void this.#stop({ member: member.name, status, words });
    };
    if (onEnd.kind === 'stop-group') return stops('the group stops');
    if (onEnd.kind === 'restart') {
      tell('it is restarted');
      return await this.#restart(member, onEnd);
    }
    this.#gone.add(member);
    if (this.#gone.size === this.#members.size) return stops('it was the last: the group stops');
    tell('the others go on');
  }

  async #restart(member: Member, { times, backoffMs }: Extract<OnEnd, { kind: 'restart' }>): Promise<void> {
    const { signal } = this.#giveUp;
    for (let why = ''; !signal.aborted; ) {
      const waitMs = member.restarts.next(times, backoffMs);
      if (waitMs === undefined) {
        const words = `member ${member.name} ended ${times + 1} times within a minute${why}`;
        return void this.#stop({ member: member.name, status: { code: 1, signal: null }, words });
      }
      await pause(waitMs, signal);
      try {
        const sandbox = await member.start();
        await member.tighten();
        // Only now: who has taken the VMM over must not reach a server in its first stage.
        this.#wires.show(member.name);
        await member.letRun();
        this.#follow(member, sandbox);
        return this.events.emit('member', {
          member: member.name,
          what: 'restarted',
          pid: sandbox.pid,
          starts: member.starts,
        });
      } catch (error) {
        this.#wires.hide(member.name);
        await member.close();
        why = `, the last time so: ${(error as Error).message}`;
      }
    }
  }

  async #unlessGivenUp<T>(work: Promise<T>): Promise<T> {
    const { signal } = this.#giveUp;
    return await untilAborted(work, signal);
  }

  #find(name: string): Member {
    const member = this.#members.get(name);
    if (member !== undefined) return member;
    throw new RatchetError('ARGUMENT_INVALID', `the group ${this.name} has no member ${name}`, {
      next: `it has ${this.members.join(', ')}`,
    });
  }

  #inBackground(work: Promise<void>): void {
    this.#work.add(work);
    void work.finally(() => this.#work.delete(work));
  }
}

/** Settles as the work does, or rejects with the signal's reason, whichever is first. */
async function untilAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  const aborted = deferred<never>();
  const abort = (): void => aborted.reject(signal.reason);
  if (signal.aborted) abort();
  signal.addEventListener('abort', abort, { once: true });
  for (const loser of [work, aborted.promise]) loser.catch(() => undefined);
  try {
    return await Promise.race([work, aborted.promise]);
  } finally {
    signal.removeEventListener('abort', abort);
  }
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await delay(ms, undefined, { signal }).catch(() => undefined);
}
