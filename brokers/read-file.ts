// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { OwnedFd } from '../core/owned-fd.ts';
import { native } from '../native/index.ts';
import { atCurrentDirectory } from './linux.ts';

/** A text file of the kernel's. Opened by the files thread: no other one may (profiles/broker.yaml). */
export function readSmallFile(path: string): string {
  using file = new OwnedFd(native.openFile({ directoryFd: atCurrentDirectory, path, flags: 0, mode: 0, resolve: 0 }));
  return readFileSync(file.fd, 'utf8');
}
