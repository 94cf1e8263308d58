// SPDX-License-Identifier: Apache-2.0
import type { Area } from './row.ts';
import { block } from './rows/block.ts';
import { blockJobs } from './rows/block-jobs.ts';
import { blockMore } from './rows/block-more.ts';
import { chardev } from './rows/chardev.ts';
import { chardevMore } from './rows/chardev-more.ts';
import { debugRows } from './rows/debug.ts';
import { devices } from './rows/devices.ts';
import { devicesMore } from './rows/devices-more.ts';
import { display } from './rows/display.ts';
import { kvm } from './rows/kvm.ts';
import { lifecycle } from './rows/lifecycle.ts';
import { lifecycleMore } from './rows/lifecycle-more.ts';
import { migration } from './rows/migration.ts';
import { migrationFd } from './rows/migration-fd.ts';
import { migrationNewer } from './rows/migration-newer.ts';
import { migrationStorage } from './rows/migration-storage.ts';
import { migrationTls } from './rows/migration-tls.ts';
import { nbd } from './rows/nbd.ts';
import { netdev } from './rows/netdev.ts';
import { netdevMore } from './rows/netdev-more.ts';
import { postcopy } from './rows/postcopy.ts';
import { snapshots } from './rows/snapshots.ts';
import { vhostUser } from './rows/vhost-user.ts';
import { work } from './rows/work.ts';

/** The matrix, in the order of its document. */
export const areas: readonly Area[] = [
  {
    area: 'migration',
    rows: [...migration, ...migrationTls, ...migrationFd, ...migrationStorage, ...postcopy, ...migrationNewer],
  },
  { area: 'block', rows: [...block, ...blockJobs, ...nbd, ...blockMore] },
  { area: 'netdev', rows: [...netdev, ...netdevMore] },
  { area: 'chardev', rows: [...chardev, ...chardevMore] },
  { area: 'devices', rows: [...devices, ...vhostUser, ...devicesMore] },
  { area: 'display', rows: display },
  { area: 'debug', rows: debugRows },
  { area: 'snapshots', rows: snapshots },
  { area: 'lifecycle', rows: [...lifecycle, ...lifecycleMore] },
  { area: 'work', rows: work },
  { area: 'kvm', rows: kvm },
];
