// SPDX-License-Identifier: Apache-2.0
// Two hosts: network namespaces of this test's own, with nothing in them but a loopback and the way to each other.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { OwnedFd } from '../../../core/owned-fd.ts';
import { native } from '../../../native/index.ts';

export interface LinkOptions {
  /** Each way. */
  readonly delayMs: number;
  readonly jitterMs: number;
  /** Of packets, from 0 to 1. */
  readonly loss: number;
  readonly bytesPerSecond: number;
  readonly mtu: number;
  /** Which packets are lost, and by how much each is later than the delay. */
  readonly seed: number;
}

export interface LinkCounts {
  readonly bytes: number;
  readonly packets: number;
  readonly lost: number;
}

export const hosts = ['here', 'there'] as const;
export type Host = (typeof hosts)[number];
/** Documentation space (RFC 5737), so it can meet nothing real. */
export const addresses: Readonly<Record<Host, string>> = { here: '192.0.2.1', there: '192.0.2.2' };

export class TwoHosts {
  readonly #holders: Readonly<Record<Host, ChildProcess>>;
  readonly #link: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  private constructor(holders: Readonly<Record<Host, ChildProcess>>, link: ChildProcess) {
    this.#holders = holders;
    this.#link = link;
    if (link.stdout === null) throw new Error('no stdout');
    this.#lines = createInterface({ input: link.stdout })[Symbol.asyncIterator]();
  }

  static async create(options: LinkOptions): Promise<TwoHosts> {
    const holders = { here: await holdNamespace(), there: await holdNamespace() };
    const tuns: OwnedFd[] = [];
    for (const host of hosts) tuns.push(await makeTun(holders[host], `${addresses[host]}/30`, options.mtu));
    const [one, other] = tuns.map(({ fd }) => fd);
    const link = spawn(process.execPath, [script('link.mjs'), JSON.stringify(options)], {
      stdio: ['pipe', 'pipe', 'inherit', one, other],
    });
    for (const tun of tuns) tun.close();
    return new TwoHosts(holders, link);
  }

  /** What to put before a command that is to run there. */
  enter(host: Host): readonly string[] {
    return enter(this.#holders[host]);
  }

  /** Resolves when so many more bytes have gone from here to there; with `cut` nothing goes from then on. */
  async after(bytes: number, then: 'cut' | 'go-on'): Promise<void> {
    this.#link.stdin?.write(`after ${bytes} ${then}\n`);
    const { value } = await this.#lines.next();
    if (value !== 'reached') throw new Error(`the link said ${value}`);
  }

  mend(): void {
    this.#link.stdin?.write('mend\n');
  }

  /** @returns what went from here to there, and back. */
  async close(): Promise<readonly [LinkCounts, LinkCounts]> {
    this.#link.stdin?.end();
    const { value } = await this.#lines.next();
    if (this.#link.exitCode === null) await once(this.#link, 'exit');
    for (const host of hosts) {
      const holder = this.#holders[host];
      holder.stdin?.end();
      if (holder.exitCode === null) await once(holder, 'exit');
    }
    return JSON.parse(String(value)) as [LinkCounts, LinkCounts];
  }
}

/** The namespace is there when it has printed a line, and ends with it. */
async function holdNamespace(): Promise<ChildProcess> {
  const holder = spawn('unshare', ['--net', 'sh', '-c', 'echo; exec cat'], { stdio: ['pipe', 'pipe', 'inherit'] });
  if (holder.stdout === null) throw new Error('no stdout');
  await once(holder.stdout, 'data');
  return holder;
}

function enter({ pid }: ChildProcess): readonly string[] {
  return ['nsenter', `--net=/proc/${pid}/ns/net`, '--'];
}

async function makeTun(holder: ChildProcess, address: string, mtu: number): Promise<OwnedFd> {
  const [ours, theirs] = native.socketPair({ type: 'stream' });
  using socket = new OwnedFd(ours);
  using passed = new OwnedFd(theirs);
  const [program = '', ...args] = [
    ...enter(holder),
    ...[process.execPath, script('tun-in-namespace.mjs'), 'way', address, String(mtu)],
  ];
  const maker = spawn(program, args, { stdio: ['ignore', 'inherit', 'inherit', passed.fd] });
  passed.close();
  const [status] = await once(maker, 'exit');
  if (status !== 0) throw new Error(`no TUN device could be made: status ${status}`);
  const received = native.receiveMessage({ fd: socket.fd, maxBytes: 64, maxFds: 1 });
  const fd = received.kind === 'message' ? received.fds[0] : undefined;
  if (fd === undefined) throw new Error('the namespace did not pass its TUN device');
  return new OwnedFd(fd);
}

function script(name: string): string {
  return fileURLToPath(new URL(name, import.meta.url));
}
