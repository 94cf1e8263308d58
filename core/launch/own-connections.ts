// SPDX-License-Identifier: Apache-2.0
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { native } from '../../native/index.ts';
import { OwnedFd } from '../owned-fd.ts';
import { addressToSockaddr, parseAddress } from '../policy/address/index.ts';

/** Our copies of the TCP sockets of a process that are connected to the address (`tcp:HOST:PORT`). None for other addresses, and of sockets that are just being closed. */
export function ownConnections(
  { pid, pidfd }: { readonly pid: number; readonly pidfd: number },
  to: string,
): OwnedFd[] {
  const address = parseAddress(to);
  if (address.kind !== 'tcp') return [];
  const sockets = socketsTo(pid, addressToSockaddr(address));
  return readdirSync(`/proc/${pid}/fd`).flatMap((name) => {
    try {
      if (!sockets.has(readlinkSync(`/proc/${pid}/fd/${name}`))) return [];
      return [new OwnedFd(native.getFdOfProcess({ pidfd, fd: Number(name) }))];
    } catch {
      // Closed since it was listed.
      return [];
    }
  });
}

/** As /proc/PID/fd names them. Of the network namespace that the process is in (proc_pid_net(5)). */
function socketsTo(pid: number, sockaddr: Uint8Array): ReadonlySet<string> {
  const peer = Buffer.from(sockaddr);
  const inet6 = peer.length > 16;
  // struct sockaddr_in and sockaddr_in6: the port in network order at 2, the address at 4 or 8. The table has its words as the machine reads them.
  const words = Buffer.from(inet6 ? peer.subarray(8, 24) : peer.subarray(4, 8)).swap32();
  const wanted = `${words.toString('hex')}:${peer.subarray(2, 4).toString('hex')}`.toUpperCase();
  const rows = readFileSync(`/proc/${pid}/net/${inet6 ? 'tcp6' : 'tcp'}`, 'utf8')
    .split('\n')
    .slice(1);
  return new Set(
    rows.flatMap((row) => {
      const [, , remote, , , , , , , inode] = row.trim().split(/\s+/);
      return remote === wanted ? [`socket:[${inode}]`] : [];
    }),
  );
}
