// SPDX-License-Identifier: Apache-2.0
// The thread whose call was notified. A tid may be recycled at any moment, so whatever is read or taken by tid counts only when the notification is
// still valid afterwards: then the thread was alive, waiting in this very call, all along (seccomp_unotify(2)).
import { OwnedFd } from '../../core/owned-fd.ts';
import { type Begun, type Notification, native } from '../../native/index.ts';
import { errno } from '../linux.ts';
import { errnoOf } from '../native-errno.ts';
import { readSmallFile } from '../read-file.ts';
import type { Asker } from '../reporter.ts';

/** Thrown when the call has gone away: nobody is left to answer. */
export class CallerGone extends Error {
  override readonly name = 'CallerGone';
}

/** Thrown to answer the call with an errno. */
export class CallFails extends Error {
  override readonly name = 'CallFails';
  readonly errno: number;

  constructor(number: number) {
    super(`errno ${number}`);
    this.errno = number;
  }
}

const pageBytes = 4096;

export class Caller {
  readonly notification: Notification;
  readonly startedMs = performance.now();
  readonly #listenerFd: number;
  /** `deferred`: somebody took on to answer later. */
  #begun: Begun | undefined;
  #state: 'waiting' | 'deferred' | 'answered' = 'waiting';

  constructor(listenerFd: number, notification: Notification & { readonly begun?: Begun }) {
    this.#listenerFd = listenerFd;
    this.#begun = notification.begun;
    this.notification = notification;
  }

  get settled(): boolean {
    return this.#state !== 'waiting';
  }

  /** The connection that a flow has begun for this call, once. */
  takeBegun(): { readonly flow: number; readonly socket: OwnedFd; readonly errno: number } | undefined {
    const begun = this.#begun;
    this.#begun = undefined;
    return begun === undefined ? undefined : { ...begun, socket: new OwnedFd(begun.fd) };
  }

  /** Promises an answer later. */
  defer(): void {
    if (this.#state === 'waiting') this.#state = 'deferred';
  }

  get waiting(): boolean {
    return native.notificationValid({ listenerFd: this.#listenerFd, id: this.notification.id });
  }

  /** @throws CallerGone. */
  mustWait(): void {
    if (!this.waiting) throw new CallerGone();
  }

  // Each answer returns false when the caller is gone.

  answerErrno(number: number): boolean {
    return this.#answer({ kind: 'errno', errno: number });
  }

  answerValue(value: bigint): boolean {
    return this.#answer({ kind: 'value', value });
  }

  /** Only for a verdict of the policy, which rests on scalars; see loop.ts. */
  answerContinue(): boolean {
    return this.#answer({ kind: 'continue' });
  }

  /** Installs a copy of the fd in the caller and answers with its number. @throws NativeError EMFILE and others, and then the call still waits. */
  answerFd(fd: OwnedFd, closeOnExec: boolean): boolean {
    const answered = native.answerWithFd({
      listenerFd: this.#listenerFd,
      id: this.notification.id,
      fd: fd.fd,
      closeOnExec,
    });
    this.#state = 'answered';
    return answered;
  }

  #answer(answer: Parameters<typeof native.answerNotification>[0]['answer']): boolean {
    this.#state = 'answered';
    return native.answerNotification({ listenerFd: this.#listenerFd, id: this.notification.id, answer });
  }

  /** One copy of the caller's memory. @throws CallFails EFAULT, CallerGone. */
  readMemory(address: bigint, length: number): Buffer {
    try {
      const bytes = native.readMemory({ tid: this.notification.tid, address, length });
      this.mustWait();
      return bytes;
    } catch (error) {
      if (error instanceof CallerGone) throw error;
      this.mustWait();
      throw new CallFails(errnoOf(error) === errno.EFAULT ? errno.EFAULT : errno.EACCES);
    }
  }

  /**
   * A NUL-terminated text, without its NUL. `cut`: the beginning will do. @throws CallFails ENAMETOOLONG when there is no NUL within `maxBytes`, EFAULT;
   * CallerGone.
   */
  readText(address: bigint, maxBytes: number, longer: 'fail' | 'cut' = 'fail'): Buffer {
    const parts: Buffer[] = [];
    for (let read = 0; read < maxBytes; ) {
      const at = BigInt.asUintN(64, address + BigInt(read));
      // Up to the end of the page at most: the text may end just before an unmapped one.
      const length = Math.min(maxBytes - read, pageBytes - Number(at % BigInt(pageBytes)));
      const part = this.readMemory(at, length);
      const end = part.indexOf(0);
      if (end >= 0) return Buffer.concat([...parts, part.subarray(0, end)]);
      parts.push(part);
      read += length;
    }
    if (longer === 'cut') return Buffer.concat(parts);
    throw new CallFails(errno.ENAMETOOLONG);
  }

  /** Our copy of the caller's open file description: the same socket, whatever becomes of the caller's fd number. @throws CallFails EBADF, CallerGone. */
  takeFd(fd: number): OwnedFd {
    if (fd < 0) throw new CallFails(errno.EBADF);
    try {
      using pidfd = this.#pin();
      const taken = new OwnedFd(native.getFdOfProcess({ pidfd: pidfd.fd, fd }));
      try {
        this.mustWait();
        return taken;
      } catch (error) {
        taken.close();
        throw error;
      }
    } catch (error) {
      if (error instanceof CallerGone) throw error;
      this.mustWait();
      const number = errnoOf(error);
      throw new CallFails(number === errno.EBADF || number === errno.EMFILE ? number : errno.EACCES);
    }
  }

  /** Kills the whole process of the caller. */
  kill(signal: number): void {
    using pidfd = this.#pin();
    native.sendSignal({ pidfd: pidfd.fd, signal });
  }

  /** Who it is, for reports. The name is the VMM's own choice. */
  describe(): Asker {
    const { tid } = this.notification;
    let thread = '';
    try {
      thread = readSmallFile(`/proc/${tid}/comm`).replace(/\n$/, '');
    } catch {
      // Gone: the report does without.
    }
    return { door: 'vmm', tid, thread: this.waiting ? thread : '' };
  }

  /** A pidfd of the thread itself (Linux 6.9), or of its process before that: threads of a VMM share their fds. */
  #pin(): OwnedFd {
    const { tid } = this.notification;
    let pidfd: OwnedFd;
    try {
      pidfd = new OwnedFd(native.openPidfd({ pid: tid, thread: true }));
    } catch (error) {
      if (errnoOf(error) !== errno.EINVAL) throw error;
      pidfd = new OwnedFd(native.openPidfd({ pid: processOf(tid), thread: false }));
    }
    try {
      this.mustWait();
      return pidfd;
    } catch (error) {
      pidfd.close();
      throw error;
    }
  }
}

function processOf(tid: number): number {
  const group = /^Tgid:\s+(\d+)$/m.exec(readSmallFile(`/proc/${tid}/status`))?.[1];
  if (group === undefined) throw new CallFails(errno.EACCES);
  return Number(group);
}
