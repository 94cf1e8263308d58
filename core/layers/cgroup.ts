// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto';
import {
  closeSync,
  constants,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  watch,
  writeSync,
} from 'node:fs';
import { join, posix } from 'node:path';
import { deferred, withDeadline } from '../deferred.ts';
import { RatchetError } from '../errors.ts';
import type { Mechanism } from '../launch/report.ts';
import { OwnedFd } from '../owned-fd.ts';
import type { Controller } from '../policy/cgroup-limits.ts';
import { type CgroupFile, saysSo } from './cgroup-files.ts';
import type { CgroupPlan } from './cgroup-plan.ts';
import { cgroupOf, wordsOf } from './cgroup-tree.ts';
import { holdName } from './held-name.ts';

const ownNames = /^ratchet-\d+-[0-9a-f]{8}$/;

/** One VMM's control group. It is made empty, the stager enters it, and at the end whatever is still in it is killed and the group removed. */
export class Cgroup {
  /** As processes see it. */
  readonly name: string;
  /** For the stager to write itself into. */
  readonly procsFd: OwnedFd;
  readonly #folder: string;
  readonly #held: Disposable;
  readonly #controllers: ReadonlySet<string>;
  #files: readonly CgroupFile[];
  #ended: Promise<void> | undefined;

  private constructor(name: string, folder: string, held: Disposable) {
    this.name = name;
    this.#folder = folder;
    this.#held = held;
    this.#files = [];
    this.#controllers = new Set(wordsOf(folder, 'cgroup.controllers'));
    this.procsFd = new OwnedFd(openSync(join(folder, 'cgroup.procs'), 'w'));
  }

  /** Groups of launchers that were killed are removed first. @throws RatchetError CGROUP_FAILED. */
  static make({ parent, folder, files }: CgroupPlan): Cgroup {
    removeForgotten(folder);
    const own = `ratchet-${process.pid}-${randomBytes(4).toString('hex')}`;
    // Held before it is there, or another launcher might remove it.
    const held = holdName(own);
    if (held === undefined) throw failed('hold the name', own, 'EADDRINUSE');
    let made: Cgroup | undefined;
    try {
      mkdirSync(join(folder, own));
      made = new Cgroup(posix.join(parent, own), join(folder, own), held);
      made.limit(files);
      return made;
    } catch (error) {
      made?.procsFd.close();
      remove(join(folder, own));
      held[Symbol.dispose]();
      if (error instanceof RatchetError) throw error;
      throw failed('make', posix.join(parent, own), (error as NodeJS.ErrnoException).code, error);
    }
  }

  /** In addition to those before, from now on. @throws RatchetError CGROUP_FAILED. */
  limit(files: readonly CgroupFile[]): void {
    for (const file of files) {
      try {
        // memory.swap.max is not there on a kernel without swap; then nothing can be swapped out.
        writeExisting(join(this.#folder, file.name), file.text);
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException;
        if (file.name === 'memory.swap.max' && code === 'ENOENT') continue;
        throw failed(`write ${file.text} to ${file.name} of`, this.name, code, error);
      }
    }
    const replaced = (old: CgroupFile): boolean =>
      files.some(({ name, text }) => name === old.name && (name !== 'io.max' || device(text) === device(old.text)));
    this.#files = [...this.#files.filter((old) => !replaced(old)), ...files];
  }

  /** Of these limits those that differ, and whose controller it has: one that may be missing stays so. */
  has(files: readonly CgroupFile[]): readonly CgroupFile[] {
    return files.filter(
      ({ controller, name, text }) =>
        this.#controllers.has(controller) && !this.#files.some((old) => old.name === name && old.text === text),
    );
  }

  /** Whether the process is in it, and its limits are what they should be. @throws when the process is gone. */
  verify(pid: number): readonly Mechanism[] {
    const found = cgroupOf(pid);
    const used = [...new Set(this.#files.map(({ controller }) => controller))];
    return [
      found === this.name
        ? { name: 'cgroup', state: 'enforced', reason: `${this.name}; what is left in it at the end is killed` }
        : { name: 'cgroup', state: 'partial', reason: `it is in ${found}, not in ${this.name}` },
      ...used.map((controller) => this.#verifyLimits(controller)),
    ];
  }

  #verifyLimits(controller: Controller): Mechanism {
    const files = this.#files.filter((file) => file.controller === controller);
    const wrong = files.find((file) => !saysSo(file, this.#read(file.name) ?? file.text));
    const name = `cgroup-${controller}`;
    if (wrong !== undefined)
      return {
        name,
        state: 'partial',
        reason: `${wrong.name} is ${this.#read(wrong.name)?.trim()}, not ${wrong.text}`,
      };
    return { name, state: 'enforced', reason: files.map((file) => `${file.name} ${file.text}`).join(', ') };
  }

  /** Undefined when the kernel has no such file. */
  #read(file: string): string | undefined {
    try {
      return readFileSync(join(this.#folder, file), 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw error;
    }
  }

  /** Kills what is in it, and removes it. May be called twice. @throws RatchetError CGROUP_FAILED when something does not end in time. */
  async end(deadlineMs: number): Promise<void> {
    this.#ended ??= this.#endNow(deadlineMs);
    await this.#ended;
  }

  async #endNow(deadlineMs: number): Promise<void> {
    this.procsFd.close();
    using _held = this.#held;
    this.kill();
    await this.#untilEmpty(deadlineMs);
    remove(this.#folder);
  }

  /** Everything in it, at once (cgroup.kill, Linux 5.14; its VMM has been killed before, in any case). */
  kill(): void {
    try {
      writeExisting(join(this.#folder, 'cgroup.kill'), '1');
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code !== 'ENOENT') throw failed('kill', this.name, code, error);
    }
  }

  async #untilEmpty(deadlineMs: number): Promise<void> {
    const events = join(this.#folder, 'cgroup.events');
    const empty = deferred<void>();
    const look = (): void => {
      if (/^populated 0$/m.test(this.#read('cgroup.events') ?? 'populated 0')) empty.resolve();
    };
    // The kernel tells of a change of this file.
    using watching = watcher(events, look);
    look();
    await withDeadline(empty.promise, deadlineMs, () => failed('empty', this.name, 'ETIMEDOUT'));
    void watching;
  }
}

/** For writing alone: cgroup.kill may be read by nobody, its owner included. */
function writeExisting(path: string, text: string): void {
  const fd = openSync(path, constants.O_WRONLY);
  try {
    writeSync(fd, text);
  } finally {
    closeSync(fd);
  }
}

function watcher(file: string, look: () => void): Disposable {
  const watching = watch(file, look);
  return { [Symbol.dispose]: () => watching.close() };
}

const device = (text: string): string | undefined => text.split(' ')[0];

/** Those that nobody holds: their launcher was killed, and what was in them with it. One that is in use cannot be removed in any case. */
function removeForgotten(folder: string): void {
  for (const name of readdirSync(folder)) {
    if (!ownNames.test(name)) continue;
    using held = holdName(name);
    if (held !== undefined) remove(join(folder, name));
  }
}

function remove(folder: string): void {
  try {
    rmdirSync(folder);
  } catch (error) {
    // Gone already, or something is still in it: the next launcher here tries again.
    if (!['ENOENT', 'EBUSY'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
  }
}

function failed(what: string, name: string, errno = 'EIO', cause?: unknown): RatchetError {
  return new RatchetError('CGROUP_FAILED', `cannot ${what} the control group ${name}`, {
    errno,
    next: 'the launcher needs a group that was delegated to it, or root',
    ...(cause === undefined ? {} : { cause }),
  });
}
