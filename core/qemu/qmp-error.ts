// SPDX-License-Identifier: Apache-2.0
import { RatchetError } from '../errors.ts';

/** QEMU's own refusal of a command. `qmpClass` is `GenericError`, `DeviceNotFound`, `CommandNotFound` ... (qapi/error.json). */
export class QmpError extends RatchetError {
  readonly command: string;
  readonly qmpClass: string;
  readonly description: string;

  constructor(command: string, qmpClass: string, description: string) {
    super('QMP_ERROR', `QEMU refused ${command}: ${qmpClass}: ${description}`);
    this.command = command;
    this.qmpClass = qmpClass;
    this.description = description;
  }
}

export function closedError(what: string, cause?: unknown): RatchetError {
  return new RatchetError('QMP_CLOSED', what, cause === undefined ? {} : { cause });
}

/** Text that QEMU, and so perhaps its guest, chose: no control characters reach a terminal, and no more than a paragraph. */
export function printable(text: string): string {
  const maxCharacters = 1000;
  return text.slice(0, maxCharacters).replaceAll(/\p{Cc}/gu, '?');
}
