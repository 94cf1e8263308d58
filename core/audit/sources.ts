// SPDX-License-Identifier: Apache-2.0
// Where the kernel's audit records can be read. The netlink group gives them also where an audit daemon takes them, but only in the first
// network namespace; the kernel log has them in any, where no daemon does.
import { constants, openSync, readSync } from 'node:fs';
import { type NativeError, native, type Watch } from '../../native/index.ts';
import { OwnedFd } from '../owned-fd.ts';

export interface AuditSource {
  readonly name: string;
  /** Hands over what has come since the last time. */
  drain(): void;
  close(): void;
}

/** Each calls back with the text of a seccomp record. The errno's name when it may not be opened. */
type OpenSource = (onRecord: (text: string) => void) => AuditSource | { readonly missing: string };

const seccompRecord = 1326;

export const openNetlink: OpenSource = (onRecord) => {
  const netlink = { family: 16, raw: 3, audit: 9 };
  const readlogGroup = 1;
  let socket: OwnedFd;
  try {
    socket = new OwnedFd(native.createSocket({ domain: netlink.family, type: netlink.raw, protocol: netlink.audit }));
  } catch (error) {
    return { missing: (error as NativeError).code };
  }
  const address = Buffer.alloc(12);
  address.writeUInt16LE(netlink.family, 0);
  address.writeUInt32LE(readlogGroup, 8);
  try {
    native.bindSocket({ fd: socket.fd, address });
  } catch (error) {
    socket.close();
    return { missing: (error as NativeError).code };
  }
  const headerBytes = 16;
  const drain = (): void =>
    drainAll(() => {
      const received = native.receiveMessage({ fd: socket.fd, maxBytes: 16_384, maxFds: 1 });
      if (received.kind !== 'message') return false;
      if (received.data.length > headerBytes && received.data.readUInt16LE(4) === seccompRecord)
        onRecord(received.data.subarray(headerBytes).toString('utf8'));
      return true;
    });
  return watched('netlink', socket, drain);
};

export const openKernelLog: OpenSource = (onRecord) => {
  let log: OwnedFd;
  try {
    log = new OwnedFd(openSync('/dev/kmsg', constants.O_RDONLY | constants.O_NONBLOCK));
  } catch (error) {
    return { missing: (error as NodeJS.ErrnoException).code ?? 'EIO' };
  }
  const record = Buffer.alloc(8192);
  const marker = `audit: type=${seccompRecord} `;
  const read = (): boolean => {
    const length = readSync(log.fd, record);
    const text = record.toString('utf8', 0, length);
    if (text.includes(marker)) onRecord(text);
    return length > 0;
  };
  return watched('the kernel log', log, () => drainAll(read));
};

function watched(name: string, fd: OwnedFd, drain: () => void): AuditSource {
  const watch: Watch = native.watchFd({ fd: fd.fd, readable: true, writable: false }, drain);
  return {
    name,
    drain,
    close: () => {
      watch.close();
      fd.close();
    },
  };
}

/** Until there is nothing more. EPIPE and ENOBUFS: records were overwritten before they were read, and the next read goes on after them. */
function drainAll(read: () => boolean): void {
  for (let reads = 0; reads < 4096; reads += 1) {
    try {
      if (!read()) return;
    } catch (error) {
      const { code } = error as NativeError;
      if (code !== 'EPIPE' && code !== 'ENOBUFS') return;
    }
  }
}
