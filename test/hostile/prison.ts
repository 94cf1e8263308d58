// SPDX-License-Identifier: Apache-2.0
// What launch() does, with any program in place of QEMU: the shipped profile, its compiled stages, the real broker process, the real tightening.
import { createInterface } from 'node:readline';
import { compileProfile } from '../../core/compiler/index.ts';
import { type BrokerProcess, startBroker } from '../../core/launch/broker-process.ts';
import { type ExitStatus, exitOf } from '../../core/launch/exit-status.ts';
import { startStaged } from '../../core/launch/stager.ts';
import { type Grant, withGrants } from '../../core/policy/index.ts';
import { loadProfile } from '../../core/profile-files.ts';
import { ownFilterCount } from '../../core/stages/tasks.ts';
import { type Tightened, tighten } from '../../core/stages/tighten.ts';
import { newJournal } from '../brokers/rig.ts';
import { buildProgram } from '../native/build-program.ts';

const deadlineMs = 10_000;

export interface Prisoner extends AsyncDisposable {
  readonly pid: number;
  readonly broker: BrokerProcess;
  /** One attempt, by its name in programs/escape.c, and what became of it. */
  readonly attempt: (command: string) => Promise<string>;
  /** Enters the next stage. */
  readonly tighten: () => Promise<Tightened>;
  readonly ended: Promise<ExitStatus>;
}

/** A hostile program in the stage `start`. */
export async function imprison(grants: readonly Grant[] = []): Promise<Prisoner> {
  const profile = withGrants(loadProfile('qemu'), grants);
  const { stages } = compileProfile(profile);
  const broker = await startBroker({ profile, log: 'ignore', ownedPaths: [], journal: newJournal(), deadlineMs });
  const [first] = stages;
  let entered = 1;
  if (first === undefined) throw new Error('a profile without stages');
  const path = buildProgram('escape', 'test/hostile/programs');
  const staged = await startStaged({
    path,
    argv: ['escape'],
    filter: first.program,
    inherit: new Map(),
    stdio: ['pipe', 'pipe', 'inherit'],
    environment: {},
    rlimits: { core: 0 },
    dropCapabilities: true,
    deadlineMs,
  });
  const { streams, pid, pidfd, exited: ended } = staged;
  await broker.client.attachListener(staged.listener);
  const lines = createInterface({ input: streams.stdout as NodeJS.ReadableStream })[Symbol.asyncIterator]();
  const line = async (): Promise<string> => {
    const { value, done } = await lines.next();
    return done === true ? `ended by ${(await ended).signal ?? 'itself'}` : value;
  };
  if ((await line()) !== 'ready') throw new Error('the prisoner did not come up');
  return {
    pid,
    broker,
    ended,
    attempt: (command) => {
      streams.stdin?.write(`${command}\n`);
      return line();
    },
    tighten: async () => {
      const next = stages[entered];
      if (next === undefined) throw new Error('there is no later stage');
      const tightened = await tighten({
        pid,
        pidfd: pidfd.fd,
        stages: stages.slice(0, entered + 1),
        askRoles: () => Promise.resolve(new Map()),
        given: new Set(),
        inheritedFilters: ownFilterCount(),
        moveBroker: () => broker.client.enterStage(next.epoch),
        tellBroker: () => Promise.resolve(),
        deadlineMs,
      });
      entered++;
      return tightened;
    },
    [Symbol.asyncDispose]: async () => {
      streams.stdin?.destroy();
      staged.child.kill('SIGKILL');
      await ended;
      broker.client.close();
      await exitOf(broker.child);
      pidfd.close();
    },
  };
}
