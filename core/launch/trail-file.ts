// SPDX-License-Identifier: Apache-2.0
// The file that a broker writes its decisions to. When it is renamed or removed (logrotate), another one of its name is opened and given to the broker, which
// may open nothing itself: no line is lost, those in between are in the old file.
import { closeSync, constants, fstatSync, openSync, statSync } from 'node:fs';
import { RatchetError } from '../errors.ts';
import { OwnedFd } from '../owned-fd.ts';

const lookEveryMs = 500;

export class TrailFile {
  readonly #path: string;
  readonly #timer: NodeJS.Timeout;
  #file: OwnedFd;
  /** Hears of each file after the first. The fd stays ours. */
  onReopened: (fd: OwnedFd) => void = () => undefined;

  private constructor(path: string, file: OwnedFd) {
    this.#path = path;
    this.#file = file;
    this.#timer = setInterval(() => this.#look(), lookEveryMs).unref();
  }

  /** @throws RatchetError ARGUMENT_INVALID. */
  static open(path: string): TrailFile {
    try {
      return new TrailFile(path, append(path));
    } catch (cause) {
      throw new RatchetError('ARGUMENT_INVALID', `the trail ${path} cannot be written`, {
        errno: (cause as NodeJS.ErrnoException).code ?? 'EIO',
        next: 'give a file in a directory that exists and that you may write to',
        cause,
      });
    }
  }

  get fd(): number {
    return this.#file.fd;
  }

  close(): void {
    clearInterval(this.#timer);
    this.#file.close();
  }

  #look(): void {
    if (this.#isStillNamed()) return;
    try {
      const next = append(this.#path);
      this.#file.close();
      this.#file = next;
    } catch {
      // A directory that is gone, a full disk: the lines go on into the old file, and this is tried again.
      return;
    }
    this.onReopened(this.#file);
  }

  #isStillNamed(): boolean {
    const named = statSync(this.#path, { throwIfNoEntry: false });
    const open = fstatSync(this.#file.fd);
    return named?.ino === open.ino && named.dev === open.dev;
  }
}

function append(path: string): OwnedFd {
  // A pipe that took the name would otherwise hold the launcher up until somebody reads it: it fails (ENXIO), or is no file.
  const { O_WRONLY, O_CREAT, O_APPEND, O_NONBLOCK } = constants;
  const fd = openSync(path, O_WRONLY | O_CREAT | O_APPEND | O_NONBLOCK, 0o600);
  if (fstatSync(fd).isFile()) return new OwnedFd(fd);
  closeSync(fd);
  throw Object.assign(new Error(`${path} is no file`), { code: 'EINVAL' });
}
