// SPDX-License-Identifier: Apache-2.0
import { deferred } from '../deferred.ts';
import { RatchetError } from '../errors.ts';
import type { EventStream } from '../launch/events.ts';
import { describeExit, type ExitStatus } from '../launch/exit-status.ts';
import type { Sandbox } from '../launch/sandbox.ts';
import type { OwnedFd } from '../owned-fd.ts';
import type { MigrateOptions, MigrationReport } from '../qemu/migrate.ts';
import type { AcceptOptions, IncomingMigration } from '../qemu/migrate-incoming.ts';
import { Qemu } from '../qemu/qemu.ts';
import type { Vmm } from '../vmm/vmm.ts';
import { type GroupEnd, type GroupReport, type GroupStatus, groupReport, memberStatus } from './group-report.ts';
import { Member, type MemberOptions } from './member.ts';
import { type GroupSpec, type MemberSpec, type OnEnd, portName } from './spec.ts';
import { pause, untilAborted } from './until-aborted.ts';
import { Wires } from './wires.ts';

export interface GroupParts {
  readonly spec: GroupSpec;
  /** By member. */
  readonly options: Readonly<Record<string, MemberOptions>>;
  readonly events: EventStream;
  readonly deadlineMs: number;
  /** Added to a member's command, by member. */
  readonly moreWords: Readonly<Record<string, readonly string[]>>;
  /** Files that are removed when the group is gone, even if this process was killed. */
  readonly ownedPaths: readonly string[];
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

  constructor({ spec, options, events, deadlineMs, moreWords, ownedPaths }: GroupParts) {
    this.#spec = spec;
    this.events = events;
    this.exited = this.#end.promise;
    const wires = new Wires(spec.links);
    this.#wires = wires;
    const { signal } = this.#giveUp;
    const owner = ownerOf(spec);
    this.#makeMember = (member) =>
      new Member({
        spec: member,
        wires,
        options: options[member.name] ?? {},
        events,
        deadlineMs,
        signal,
        moreWords: moreWords[member.name] ?? [],
        ownedPaths: member.name === owner ? ownedPaths : [],
      });
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

  /**
   * The member that is a QEMU, or the one of that name.
   * @throws RatchetError ARGUMENT_INVALID when it is none, or when the group has several and none is named.
   */
  vmm(name?: string): Sandbox<Qemu> {
    const found = (name === undefined ? this.members : [name]).filter((one) => this.member(one).vmm instanceof Qemu);
    const [only, ...others] = found;
    if (only === undefined || others.length > 0)
      throw new RatchetError(
        'ARGUMENT_INVALID',
        name === undefined
          ? `the group ${this.name} has ${found.length} members that are a QEMU`
          : `member ${name} is no QEMU`,
        { next: found.length > 1 ? `name one of ${found.join(', ')}` : 'name a member whose program is qemu-system-*' },
      );
    return this.member(only) as Sandbox<Vmm> as Sandbox<Qemu>;
  }

  async status(): Promise<GroupStatus> {
    const all = [...this.#members.values()].map(async (member) => [member.name, await memberStatus(member)] as const);
    return { group: this.name, members: Object.fromEntries(await Promise.all(all)) };
  }

  /**
   * All members into a later stage, or the one that is named, each verified; members that are there already are read again. A member that is started again later
   * enters it as well.
   * @throws RatchetError STAGE_UNKNOWN or STAGE_BACKWARDS, before anything is done; what `Sandbox.enter()` throws, of the first member that failed: the others may be in
   *   the stage, and this may be asked again.
   */
  async enter(stage: string, only?: string): Promise<GroupReport> {
    const members = only === undefined ? this.#present() : [this.#find(only)];
    for (const member of members) member.check(stage);
    if (!members.some((member) => member.isBefore(stage)))
      throw new RatchetError('STAGE_BACKWARDS', `no member of ${this.name} is in a stage before ${stage}`, {
        next: 'stages only tighten; start a new group',
      });
    const entered = await Promise.allSettled(
      members.map(async (member) => [member.name, await member.enter(stage)] as const),
    );
    const failed = entered.find((result) => result.status === 'rejected');
    if (failed !== undefined) throw failed.reason;
    return groupReport(
      this.name,
      entered.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : [])),
    );
  }

  /** Reads every thread of every member again. One that is being started again is waited for. */
  async attest(): Promise<GroupReport> {
    // What is done about an end is under way when that end can be seen.
    await Promise.all([...this.#members.values()].map((member) => member.comingBack));
    const reports = this.#present().map(async (member) => [member.name, await member.sandbox.attest()] as const);
    return groupReport(this.name, await Promise.all(reports));
  }

  /**
   * Migrates the VMM away, with its TPM, which travels in its stream, and with the disks that the options name; then the group ends.
   * @throws RatchetError MIGRATION_FAILED; the guest goes on here, with all members.
   */
  async migrate(to: string, options: MigrateOptions & { readonly member?: string } = {}): Promise<MigrationReport> {
    const report = await this.vmm(options.member).vmm.migrate(to, options);
    await this.#stop({
      member: undefined,
      status: { code: 0, signal: null },
      words: `the group has migrated to ${to}`,
    });
    return report;
  }

  /** Lets a migration in, for a group that was launched with `incoming`. */
  async accept(at: string, options: AcceptOptions & { readonly member?: string } = {}): Promise<IncomingMigration> {
    return await this.vmm(options.member).vmm.acceptMigration(at, options);
  }

  /**
   * Clients first, then their servers. Nothing of the group is left afterwards. May be called twice. Who does not wait for it need not catch its failure.
   * @throws what the first member threw whose end failed; all others have ended too then.
   */
  stop(): Promise<void> {
    return this.#stop({ member: undefined, status: { code: 0, signal: null }, words: 'the group was stopped' });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  #stop(end: GroupEnd): Promise<void> {
    if (this.#stopped === undefined) {
      this.#stopped = this.#stopNow(end);
      this.#stopped.catch(() => undefined);
    }
    return this.#stopped;
  }

  async #stopNow(end: GroupEnd): Promise<void> {
    this.#phase = 'stopping';
    this.#giveUp.abort(new RatchetError('VMM_EXITED', end.words));
    await Promise.allSettled(this.#work);
    const failures: unknown[] = [];
    for (const member of [...this.#members.values()].reverse())
      await member.close().catch((error: unknown) => failures.push(error));
    for (const member of this.#members.values()) member[Symbol.dispose]();
    this.#wires[Symbol.dispose]();
    this.events.close();
    this.#end.resolve(end);
    if (failures.length > 0) throw failures[0];
  }

  #follow(member: Member, sandbox: Sandbox<Vmm>): void {
    void sandbox.exited.then((status) => {
      if (this.#phase === 'stopping' || this.#members.get(member.name) !== member) return;
      const words = `member ${member.name} ${describeExit(status)}`;
      if (this.#phase === 'starting')
        return this.#giveUp.abort(new RatchetError('VMM_EXITED', `${words} while the group was started`));
      this.#wires.hide(member.name);
      this.#inBackground(member, this.#onEnd(member, status, words));
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

  /** Those whose end is not the others' and that have not come to it. */
  #present(): readonly Member[] {
    return [...this.#members.values()].filter((member) => !this.#gone.has(member));
  }

  /** A failure in it is the end of the group: nobody else would see to the member. */
  #inBackground(member: Member, act: Promise<void>): void {
    const work = act.catch((error: Error) => {
      const words = `the end of member ${member.name} failed: ${error.message}`;
      void this.#stop({ member: member.name, status: { code: 1, signal: null }, words });
    });
    this.#work.add(work);
    member.comingBack = work;
    void work.finally(() => {
      this.#work.delete(work);
      if (member.comingBack === work) member.comingBack = undefined;
    });
  }
}

/** Whose broker removes the group's files: the last to be started of those whose end is the group's. */
function ownerOf({ members }: GroupSpec): string | undefined {
  return members.findLast(({ onEnd }) => onEnd.kind === 'stop-group')?.name ?? members.at(-1)?.name;
}
