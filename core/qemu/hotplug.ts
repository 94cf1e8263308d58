// SPDX-License-Identifier: Apache-2.0
// Hotplug without a single open, connect or bind by QEMU: every descriptor comes from the source and travels over the monitor.
// Names inside QEMU are derived from the device's id, so a device can be unplugged by whoever knows that id.
import { RatchetError } from '../errors.ts';
import type { OwnedFd } from '../owned-fd.ts';
import { noKeeper, type ThreadKeeper } from '../vmm/thread-keeper.ts';
import type { FdSource } from './fd-source.ts';
import type { QmpClient } from './qmp-client.ts';
import { QmpError } from './qmp-error.ts';
import { Undo } from './undo.ts';

export interface DeviceOptions {
  /** Name of the device inside QEMU: a letter, then up to 19 letters, digits, `-`, `_` or `.`. */
  readonly id: string;
  /** Slot on the PCI bus, as `05` or `05.0`; the next free one by default. Both sides of a migration need the same. */
  readonly pciAddress?: string;
}

export type NicOptions = DeviceOptions & {
  /** aa:bb:cc:dd:ee:ff; QEMU chooses one by default. */
  readonly mac?: string;
} & (
    | {
        /** Interface name for the tap device; `%d` in it is a number that the kernel chooses. */
        readonly tap: string;
      }
    | {
        /** ADDR of a peer that speaks QEMU's stream framing (a 32-bit length before each frame), such as passt or another QEMU. */
        readonly connect: string;
      }
    | {
        /** A connected stream socket with such a peer at its other end. It stays the caller's. */
        readonly fd: OwnedFd;
      }
  );

export interface AddedNic {
  readonly id: string;
  /** The kernel's name for the interface, when the backend is a tap device. */
  readonly tap: string | undefined;
}

export interface DiskOptions extends DeviceOptions {
  readonly path: string;
  readonly format?: 'raw' | 'qcow2';
  readonly readOnly?: boolean;
}

export interface AddedCpu {
  readonly id: string;
  /** Where it sits, e.g. `{'socket-id': 1, 'core-id': 0, 'thread-id': 0}`. */
  readonly place: Readonly<Record<string, number>>;
}

const socketNicNeed = {
  syscall: 'recvfrom',
  because: 'QEMU receives what comes for a NIC on a socket by recv(3)',
  next: 'start QEMU with the feature nic-socket (--feature nic-socket), or add the NIC on a tap device',
} as const;

/** How long the guest may take to let a device go. */
const unplugTimeoutMs = 30_000;

/** Adds devices to a machine and takes them away. A failure half-way leaves nothing behind. */
export class Hotplug {
  readonly #qmp: QmpClient;
  readonly #fds: FdSource;
  readonly #threads: ThreadKeeper;

  constructor(qmp: QmpClient, fds: FdSource, threads: ThreadKeeper = noKeeper) {
    this.#qmp = qmp;
    this.#fds = fds;
    this.#threads = threads;
  }

  /** @throws RatchetError of the source (REQUEST_REFUSED ...), QMP_ERROR, ARGUMENT_INVALID. */
  async addNic(options: NicOptions): Promise<AddedNic> {
    checkId(options.id);
    return await Undo.guard(async (undo) => {
      const netdev = netdevOf(options.id);
      const tap = await this.#addBackend(netdev, options, undo);
      await this.#qmp.execute('device_add', {
        driver: 'virtio-net-pci',
        id: options.id,
        netdev,
        // The option ROM would be read from a file.
        romfile: '',
        ...(options.mac === undefined ? {} : { mac: options.mac }),
        ...addressOf(options),
      });
      return { id: options.id, tap };
    });
  }

  /** Resolves when the guest has let it go. */
  async removeNic(id: string): Promise<void> {
    checkId(id);
    await this.#remove(id, async () => {
      await this.#qmp.execute('netdev_del', { id: netdevOf(id) });
    });
  }

  async addDisk(options: DiskOptions): Promise<{ readonly id: string }> {
    checkId(options.id);
    const readOnly = options.readOnly ?? false;
    return await Undo.guard(async (undo) => {
      const set = await this.#addFileSet(options, readOnly ? 'ro' : 'rw', undo);
      const [file, format] = nodesOf(options.id);
      await this.#qmp.execute('blockdev-add', {
        driver: 'file',
        'node-name': file,
        filename: `/dev/fdset/${set}`,
        'read-only': readOnly,
      });
      undo.push(() => this.#qmp.execute('blockdev-del', { 'node-name': file }));
      await this.#qmp.execute('blockdev-add', {
        driver: options.format ?? 'raw',
        'node-name': format,
        file,
        'read-only': readOnly,
        // An image's header may name a backing file, which QEMU would open by path.
        ...(options.format === 'qcow2' ? { backing: null } : {}),
      });
      undo.push(() => this.#qmp.execute('blockdev-del', { 'node-name': format }));
      await this.#qmp.execute('device_add', {
        driver: 'virtio-blk-pci',
        id: options.id,
        drive: format,
        ...addressOf(options),
      });
      return { id: options.id };
    });
  }

  /** Resolves when the guest has let it go and QEMU has closed the image. */
  async removeDisk(id: string): Promise<void> {
    checkId(id);
    await this.#remove(id, async () => {
      const [file, format] = nodesOf(id);
      await this.#qmp.execute('blockdev-del', { 'node-name': format });
      await this.#qmp.execute('blockdev-del', { 'node-name': file });
      await this.#removeFileSet(id);
    });
  }

  /**
   * Plugs the first vCPU that the machine has a free place for (`-smp ...,maxcpus=`). The guest must still bring it online. Where vCPUs have filters of
   * their own the guest is paused until the new one has them, since a guest that waits for it could run on it at once.
   */
  async addCpu(options: { readonly id?: string } = {}): Promise<AddedCpu> {
    if (options.id !== undefined) checkId(options.id);
    const slots = await this.#qmp.execute('query-hotpluggable-cpus', {});
    // QEMU lists the highest place first; guests number them upwards.
    const slot = slots.findLast((candidate) => candidate['qom-path'] === undefined);
    if (slot === undefined)
      throw new RatchetError('ARGUMENT_INVALID', `all ${slots.length} vCPUs of the machine are plugged in`, {
        next: 'start it with a larger maxcpus in -smp',
      });
    const id = options.id ?? `ratchet-cpu${Object.values(slot.props).join('-')}`;
    const add = (): Promise<unknown> => this.#qmp.execute('device_add', { driver: slot.type, id, ...slot.props });
    await this.#threads.adding('vcpu', add, () => this.#pause());
    return { id, place: slot.props };
  }

  /** Makes an iothread, for devices that are added later. It does nothing before one is given to it. */
  async addIoThread(id: string): Promise<{ readonly id: string }> {
    checkId(id);
    await this.#threads.adding('io', () => this.#qmp.execute('object-add', { 'qom-type': 'iothread', id }));
    return { id };
  }

  async removeIoThread(id: string): Promise<void> {
    await this.#qmp.execute('object-del', { id });
  }

  /** Keeps the guest from running, and returns what lets it run if it did before. */
  async #pause(): Promise<() => Promise<void>> {
    const { running } = await this.#qmp.execute('query-status', {});
    if (running) await this.#qmp.execute('stop', {});
    return async () => {
      if (running) await this.#qmp.execute('cont', {});
    };
  }

  /** The network backend on a descriptor; returns the tap interface's name. */
  async #addBackend(netdev: string, options: NicOptions, undo: Undo): Promise<string | undefined> {
    if ('fd' in options) {
      await this.#addNetdev(netdev, 'socket', options.fd, undo);
      return undefined;
    }
    const [request, target] =
      'tap' in options ? (['tap', options.tap] as const) : (['connect', options.connect] as const);
    await using _backend = await this.#fds.lease({ request, target, uses: 1, until: 'the backend exists' });
    const tap = 'tap' in options ? await this.#fds.tap(options.tap) : undefined;
    using backend = tap?.fd ?? (await this.#fds.connect(target));
    // `socket` and not `stream`: both speak the same framing, but `stream` takes an fd only by the number of an fdset member, which it
    // closes itself, so that the fdset is left with a number that soon belongs to another file.
    await this.#addNetdev(netdev, tap === undefined ? 'socket' : 'tap', backend, undo);
    return tap?.name;
  }

  async #addNetdev(netdev: string, type: 'socket' | 'tap', backend: OwnedFd, undo: Undo): Promise<void> {
    // QEMU adds it all the same, and loses the connection with the first frame.
    if (type === 'socket') this.#fds.assertAllows?.(socketNicNeed);
    await this.#qmp.execute('getfd', { fdname: netdev }, { fds: [backend.fd] });
    // QEMU forgets the name when the backend takes the descriptor; closing it then fails, which is right.
    undo.push(() => this.#qmp.execute('closefd', { fdname: netdev }));
    await this.#qmp.execute('netdev_add', { type, id: netdev, fd: netdev });
    undo.push(() => this.#qmp.execute('netdev_del', { id: netdev }));
  }

  /** An fdset with one member: QEMU opens it with the very access mode that the member has. */
  async #addFileSet(options: DiskOptions, access: 'ro' | 'rw', undo: Undo): Promise<number> {
    const target = access === 'ro' ? `${options.path}:ro` : options.path;
    await using _image = await this.#fds.lease({ request: 'open', target, uses: 1, until: 'QEMU has the image' });
    using image = await this.#fds.open(options.path, access);
    const added = await this.#qmp.execute('add-fd', { opaque: fileSetOf(options.id) }, { fds: [image.fd] });
    const set = added['fdset-id'];
    undo.push(() => this.#qmp.execute('remove-fd', { 'fdset-id': set }));
    return set;
  }

  async #removeFileSet(id: string): Promise<void> {
    const sets = await this.#qmp.execute('query-fdsets', {});
    for (const set of sets) {
      if (!set.fds.some(({ opaque }) => opaque === fileSetOf(id))) continue;
      await this.#qmp.execute('remove-fd', { 'fdset-id': set['fdset-id'] });
    }
  }

  /** A device that is gone already (an earlier call that gave up waiting) only has its backend removed. */
  async #remove(id: string, removeBackend: () => Promise<void>): Promise<void> {
    const missing = await this.#unplug(id);
    try {
      await removeBackend();
    } catch (error) {
      throw missing ?? error;
    }
  }

  /** Asks the guest and waits until the device is gone. Returns QEMU's error when there is no such device. */
  async #unplug(id: string): Promise<QmpError | undefined> {
    using events = this.#qmp.subscribe(['DEVICE_DELETED', 'DEVICE_UNPLUG_GUEST_ERROR']);
    try {
      await this.#qmp.execute('device_del', { id });
    } catch (error) {
      if (error instanceof QmpError && error.qmpClass === 'DeviceNotFound') return error;
      throw error;
    }
    const event = await events
      .next(({ data }) => data.device === id, unplugTimeoutMs)
      .catch((cause: RatchetError) => {
        if (cause.code !== 'QMP_TIMEOUT') throw cause;
        throw new RatchetError(
          'QMP_TIMEOUT',
          `the guest did not let device ${id} go within ${unplugTimeoutMs} ms of device_del`,
          {
            next: 'is it running, and does it have ACPI hotplug? Then ask again',
            cause,
          },
        );
      });
    if (event.name !== 'DEVICE_DELETED')
      throw new QmpError('device_del', 'GuestError', `the guest refuses to let device ${id} go`);
    return undefined;
  }
}

function netdevOf(id: string): string {
  return `${id}-net`;
}

function nodesOf(id: string): readonly [file: string, format: string] {
  return [`${id}-file`, `${id}-format`];
}

function fileSetOf(id: string): string {
  return `ratchet-disk ${id}`;
}

function addressOf({ pciAddress }: DeviceOptions): { readonly addr?: string } {
  return pciAddress === undefined ? {} : { addr: pciAddress };
}

/** Block node names have at most 31 characters (include/block/block_int.h), ours a suffix of up to 7. */
function checkId(id: string): void {
  if (!/^[A-Za-z][A-Za-z0-9_.-]{0,19}$/.test(id))
    throw new RatchetError('ARGUMENT_INVALID', `${JSON.stringify(id)} is no device id`, {
      next: 'write a letter, then up to 19 letters, digits, "-", "_" or "."',
    });
}
