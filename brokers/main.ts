// SPDX-License-Identifier: Apache-2.0
// The broker of one VM. fd 3: the launcher's channel. fds 4 and 5: sealed memfds with the resolved profile and the broker's own confinement.
// fd 6: the journal, shared memory that a broker after this one reads. stderr: the log.
// It ends with the channel, whoever closed it, and then removes the socket files that it made and those it was given with --owns.
import { closeSync, readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { z } from 'zod';
import {
  type BrokerEvent,
  decodeConfinement,
  decodeProfile,
  encodeServerMessage,
  journalBytes,
} from '../core/broker/protocol.ts';
import { native } from '../native/index.ts';
import { Agents } from './agents.ts';
import { Authority } from './authority.ts';
import { BoundFiles } from './bound-files.ts';
import type { Broker } from './broker.ts';
import { Channel } from './channel.ts';
import { OwnConfinement, StepFailed } from './confine.ts';
import { Flows, maxFlows } from './flows.ts';
import { closeInheritedFds } from './inherited-fds.ts';
import { Journal, monotonicMs } from './journal.ts';
import { OneProgram } from './notify/execveat.ts';
import { NotifyLoop } from './notify/loop.ts';
import { Patience } from './patience.ts';
import { PendingSet } from './pending.ts';
import { launcherAsks, Reporter } from './reporter.ts';
import { RunningPrograms } from './running-programs.ts';
import { RuntimeGrants } from './runtime-grants.ts';
import { Conversation, type Session } from './serve.ts';
import { Stages } from './stages.ts';
import { restore } from './take-over.ts';
import { ThreadRoles } from './thread-roles.ts';

const channelFd = 3;
const profileFd = 4;
const confinementFd = 5;
const journalFd = 6;

/** Connections that are being made at one time, both doors together. */
const maxPending = 256;

const exitCode = { done: 0, protocol: 3, bug: 70 } as const;

// zod would try `new Function`, which is off in this process.
z.config({ jitless: true });
ignoreSignals();
await main();

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      owns: { type: 'string', multiple: true },
      'max-refusals': { type: 'string' },
      'max-flows': { type: 'string' },
    },
  });
  const bound = new BoundFiles(values.owns ?? []);
  const profile = decodeProfile(readFileSync(profileFd));
  closeSync(profileFd);
  const confinement = decodeConfinement(readFileSync(confinementFd));
  closeSync(confinementFd);
  closeInheritedFds([0, 1, 2, channelFd, journalFd]);
  const stages = new Stages(profile);
  const journal = new Journal(native.mapShared({ fd: journalFd, bytes: journalBytes }));
  closeSync(journalFd);
  const own = await OwnConfinement.enter(confinement).catch(giveUp);

  // The hello comes first, whatever there is to tell of the broker before.
  const early: BrokerEvent[] = [];
  let tell = (event: BrokerEvent): void => void early.push(event);
  const reporter = new Reporter((event) => tell(event));
  const flows = new Flows(journal.byFlows, reporter, Number(values['max-flows'] ?? maxFlows));
  const channel = new Channel(channelFd, flows, {
    onPacket: (data, fds, begun) => {
      try {
        conversation.accept(data, fds, begun);
      } finally {
        for (const fd of fds) fd.close();
      }
    },
    onEnd: (error) => {
      if (error !== undefined) reporter.broker('the channel was cut off', { error });
      end(error === undefined ? exitCode.done : exitCode.protocol);
    },
  });
  const grants = new RuntimeGrants(
    (grant, end) => {
      reporter.grantChanged(stages.current.stage.name, grant, end);
      broker.pending.recheckAll();
      broker.running.recheckAll();
    },
    monotonicMs,
    profile.hosts,
  );
  const broker: Broker = {
    asker: launcherAsks,
    stages,
    grants,
    authority: new Authority(stages, grants),
    own,
    reporter,
    pending: new PendingSet(maxPending),
    bound,
    programs: new OneProgram(),
    patience: new Patience(Number(values['max-refusals'] ?? 0)),
    journal,
    threads: new ThreadRoles(),
    running: new RunningPrograms(
      (order, fds) => channel.send({ ...order, type: 'start' }, fds),
      (ended) => reporter.programEnded({ ...ended, what: 'ended, and the launcher did not tell of it' }),
    ),
    flows,
  };
  restore(broker, journal);
  reporter.onCount = () => journal.counted(reporter.allowed, reporter.denied);
  broker.patience.onSpend = (refusals) => {
    journal.refusals = refusals;
  };
  broker.programs.onTake = () => journal.startedProgram();
  const keep = (): void => {
    if (!journal.write({ ...grants.keep(), bound: bound.list() }))
      reporter.broker('the journal is full: a broker that takes over will know less');
  };
  grants.onChange = () => {
    flows.clear();
    keep();
  };
  // No flow rests on a grant that is counted.
  grants.onUse = keep;
  bound.onChange = keep;
  let loop: NotifyLoop | undefined;
  const session: Session = {
    broker,
    attachListener: (listener) => {
      if (loop !== undefined) return false;
      loop = new NotifyLoop(broker, listener);
      return true;
    },
    listenerState: () => (loop === undefined ? 'none' : loop.ended ? 'ended' : 'attached'),
    end: () => end(exitCode.done),
    addAgent: (fd, name) => agents.add(fd, { asker: { door: 'agent', tid: 0, thread: name } }),
    acceptAgents: (listening, name, users) => agents.accept(listening, name, users),
  };
  const agents = new Agents(() => session);
  const conversation = new Conversation(session, channel);

  // Exiting closes the listener: every call that waits, and every later one, then gets ENOSYS from the kernel.
  function end(code: number): never {
    reporter.summarise();
    bound.removeAll();
    process.exit(code);
  }
  process.on('SIGTERM', () => end(exitCode.done));
  process.on('uncaughtException', (error) => {
    reporter.broker('the broker failed and ends', { error });
    end(exitCode.bug);
  });
  conversation.greet();
  tell = (event) => channel.sendEvent(event);
  early.forEach(tell);
}

/** In place of the hello, so that the launcher can tell its user what to mend. The error itself ends the process, into its log. */
function giveUp(error: unknown): never {
  if (error instanceof StepFailed) {
    const { syscall, errno } = error.cause;
    const data = encodeServerMessage({ type: 'unconfined', step: error.step, syscall, errno });
    native.sendMessage({ fd: channelFd, data, fds: [] });
  }
  throw error;
}

/**
 * A Ctrl-C reaches the whole terminal: the launcher acts on it, and the channel's end tells us. When the launcher is killed SIGTERM comes first, and the
 * channel ends too; not SIGKILL, which would leave the VM's socket files behind. SIGUSR1 would open Node's inspector, and a VMM of this user may send it before Linux 6.12.
 */
function ignoreSignals(): void {
  for (const signal of ['SIGINT', 'SIGHUP', 'SIGPIPE', 'SIGUSR1'] as const) process.on(signal, () => undefined);
  const sigterm = 15;
  native.setParentDeathSignal({ signal: sigterm });
}
