// SPDX-License-Identifier: Apache-2.0
// The broker takes away from itself what its VM's profile does not need, before it says hello. See profiles/broker.yaml for what and why.
//
//   should    leave two kinds of threads: one that may open the granted files and no others, and all others, which may open nothing
//   mustn't   serve a request before it is done, or go on after a step that failed
//   needs     the thread pool running (no thread is made afterwards); nothing that must be opened later but by native.openFile
//   leaves    dumpable off, limits fixed, capabilities dropped, no_new_privs, two filters on every thread, the files thread in a Landlock domain
import { closeSync, openSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import type { Confinement } from '../core/broker/protocol.ts';
import { OwnedFd } from '../core/owned-fd.ts';
import { type NativeError, native } from '../native/index.ts';
import { atCurrentDirectory, errno } from './linux.ts';
import { attempt } from './native-errno.ts';

const limit = { data: 2, core: 4, openFiles: 7 } as const;

/** A step of the broker's confinement that the kernel refused. `cause` is the native error. */
export class StepFailed extends Error {
  readonly step: string;
  override readonly cause: NativeError;

  constructor(step: string, cause: NativeError) {
    super(`${step}: ${cause.message}`);
    this.step = step;
    this.cause = cause;
  }
}

export class OwnConfinement {
  readonly #stages: Confinement['stages'];
  readonly #filesTid: number;
  #at = 0;

  private constructor(stages: Confinement['stages'], filesTid: number) {
    this.#stages = stages;
    this.#filesTid = filesTid;
  }

  /** @throws StepFailed */
  static async enter(confinement: Confinement): Promise<OwnConfinement> {
    await stat('/');
    step('limits', () => {
      native.setOwnLimit({ resource: limit.core, value: 0 });
      native.setOwnLimit({ resource: limit.data, value: confinement.maxDataBytes });
      native.setOwnLimit({ resource: limit.openFiles, value: confinement.maxFds });
      native.forbidDumps();
    });
    const { landlock } = confinement;
    // Without Landlock, which the launcher was told may be missing, the thread is still the only one that may open.
    const filesTid = step('the files thread', () =>
      native.startFileThread(landlock ?? { handled: 0n, scoped: 0n, rights: [] }),
    );
    step('capabilities', () => native.keepCapabilities({ capabilities: confinement.capabilities }));
    const own = new OwnConfinement(confinement.stages, filesTid);
    const first = own.#stages[0];
    if (first === undefined) throw new Error('a confinement without stages');
    step('the filter of all threads', () => native.filterThreads({ program: first.all }));
    step('the filters of each thread', () => own.#filterEach([first.main], [first.files]));
    proveOpeningIsRefused(landlock !== null && !landlock.rights.some(({ path }) => path === '/'));
    return own;
  }

  get stage(): string {
    return this.#stages[this.#at]?.name ?? '';
  }

  /** Enters all later stages: the VM needs nothing more. The threads' filters differ by now, so each takes its own, at one stop. */
  seal(): void {
    const later = this.#stages.slice(this.#at + 1);
    if (later.length === 0) return;
    this.#filterEach(
      later.flatMap(({ all, main }) => [all, main]),
      later.flatMap(({ all, files }) => [all, files]),
    );
    this.#at += later.length;
  }

  #filterEach(main: readonly Uint8Array[], files: readonly Uint8Array[]): void {
    native.filterEachThread({ programs: main, except: this.#filesTid });
    native.filterFileThread({ programs: files });
  }
}

function step<T>(name: string, take: () => T): T {
  try {
    return take();
  } catch (cause) {
    throw new StepFailed(name, cause as NativeError);
  }
}

/** By trying: this thread opens nothing, and the files thread nothing outside its roots. */
function proveOpeningIsRefused(hasRoots: boolean): void {
  let byThisThread = 'nothing';
  try {
    closeSync(openSync('/', 'r'));
  } catch (error) {
    byThisThread = (error as NodeJS.ErrnoException).code ?? 'nothing';
  }
  if (byThisThread !== 'EPERM') throw new Error(`a thread that must open nothing was answered ${byThisThread}`);
  if (!hasRoots) return;
  const byFilesThread = attempt(() =>
    new OwnedFd(native.openFile({ directoryFd: atCurrentDirectory, path: '/', flags: 0, mode: 0, resolve: 0 })).close(),
  );
  if (byFilesThread !== errno.EACCES)
    throw new Error(`the files thread is in no Landlock domain: errno ${byFilesThread}`);
}
