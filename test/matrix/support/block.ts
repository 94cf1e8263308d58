// SPDX-License-Identifier: Apache-2.0
// The block layer without a guest: HMP's qemu-io writes through a node as a device would, and the image tells what arrived.
import { execFileSync } from 'node:child_process';
import { closeSync, ftruncateSync, openSync, readFileSync } from 'node:fs';
import { guestMs, type Vm } from '../vm.ts';

const mebibyte = 1024 * 1024;
const blockBytes = 65_536;

/** A raw image of zeroes. */
export function makeImage(path: string, bytes = mebibyte): string {
  const fd = openSync(path, 'w');
  ftruncateSync(fd, bytes);
  closeSync(fd);
  return path;
}

export function makeQcow2(path: string, backing?: string): string {
  const chain = backing === undefined ? [] : ['-b', backing, '-F', 'qcow2'];
  execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', ...chain, path, ...(backing === undefined ? ['1M'] : [])]);
  return path;
}

/** Adds a node for an image at a path; QEMU opens it. */
export async function addNode(
  vm: Vm,
  driver: string,
  filename: string,
  options: Readonly<Record<string, unknown>> = {},
): Promise<string> {
  const node = `n${nodes++}`;
  const file = { driver: 'file', filename, ...(options['file'] as object | undefined) };
  const own = Object.fromEntries(Object.entries(options).filter(([key]) => key !== 'file'));
  const layers = driver === 'file' ? file : { driver, file };
  await vm.qmp('blockdev-add', { ...layers, 'node-name': node, ...own });
  return node;
}
let nodes = 0;

export async function removeNode(vm: Vm, ...names: readonly string[]): Promise<void> {
  for (const name of names) await vm.qmp('blockdev-del', { 'node-name': name });
}

/** Puts a device on a node, whose overlay would have no user otherwise; resolves with what takes it away again. USB needs no guest for that. */
export async function attach(vm: Vm, node: string): Promise<() => Promise<void>> {
  const id = `usb-${node}`;
  await vm.qmp('device_add', { driver: 'usb-storage', bus: 'usb.0', drive: node, id, 'share-rw': true });
  return async () => {
    using events = vm.sandbox.vmm.qmp.subscribe(['DEVICE_DELETED']);
    await vm.qmp('device_del', { id });
    await events.next(({ data }) => data['device'] === id, guestMs);
  };
}

/** Writes 64 KB of a byte through a node and flushes. */
export async function fill(vm: Vm, node: string, byte: number, offset = 0): Promise<void> {
  await vm.hmp(`qemu-io ${node} "write -P ${byte} ${offset} ${blockBytes}"`);
  await vm.hmp(`qemu-io ${node} "flush"`);
}

/** @throws when the image, as any reader of its format sees it, has not these 64 KB. */
export function checkFilled(path: string, byte: number, format = 'raw', offset = 0): void {
  const found = execFileSync(
    'qemu-io',
    ['-r', '-U', '-f', format, '-c', `read -P ${byte} ${offset} ${blockBytes}`, path],
    {
      encoding: 'utf8',
    },
  );
  if (/verification failed/i.test(found)) throw new Error(`${path} has not the data: ${found}`);
}

/** A job that ends by itself, or that is told to when it is ready. @throws its error. */
export async function runJob(vm: Vm, command: string, args: Readonly<Record<string, unknown>>): Promise<void> {
  using events = vm.sandbox.vmm.qmp.subscribe(['BLOCK_JOB_READY', 'BLOCK_JOB_COMPLETED', 'BLOCK_JOB_CANCELLED']);
  await vm.qmp(command, args);
  for (;;) {
    const { name, data } = await events.next(() => true, guestMs);
    if (name === 'BLOCK_JOB_READY') await vm.qmp('block-job-complete', { device: data['device'] });
    else if (name === 'BLOCK_JOB_COMPLETED' && data['error'] === undefined) return;
    else throw new Error(`${command}: ${name} ${JSON.stringify(data)}`);
  }
}

/** A job of the newer kind, such as blockdev-create. */
export async function runNewJob(vm: Vm, command: string, args: Readonly<Record<string, unknown>>): Promise<void> {
  const id = `j${nodes++}`;
  await vm.qmp(command, { 'job-id': id, ...args });
  const done = await vm.until<readonly { readonly id: string; readonly status: string; readonly error?: string }[]>(
    'query-jobs',
    (jobs) => jobs.some((job) => job.id === id && job.status === 'concluded'),
  );
  await vm.qmp('job-dismiss', { id });
  const error = done.find((job) => job.id === id)?.error;
  if (error !== undefined) throw new Error(`${command}: ${error}`);
}

/** Whether a file starts with a text. */
export function startsWith(path: string, text: string): boolean {
  return readFileSync(path).subarray(0, text.length).toString() === text;
}
