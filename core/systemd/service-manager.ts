// SPDX-License-Identifier: Apache-2.0
import { type NativeError, native } from '../../native/index.ts';
import { OwnedFd } from '../owned-fd.ts';
import { addressToSockaddr, socketFamily } from '../policy/address/index.ts';

const datagram = 2;
const retryMs = 20;
const mostTries = 50;

/** Whoever started us and wants to hear how we are (sd_notify(3)). What it does not hear is nobody's failure but its own. */
export class ServiceManager {
  readonly #socket: OwnedFd;
  readonly #complain: (text: string) => void;
  #sent: Promise<void> = Promise.resolve();

  private constructor(socket: OwnedFd, complain: (text: string) => void) {
    this.#socket = socket;
    this.#complain = complain;
  }

  /** Undefined without one. Takes the variable that names it: children must not speak for us. */
  static find(
    complain: (text: string) => void,
    environment: NodeJS.ProcessEnv = process.env,
  ): ServiceManager | undefined {
    const name = environment['NOTIFY_SOCKET'];
    delete environment['NOTIFY_SOCKET'];
    if (name === undefined || name === '') return undefined;
    const socket = new OwnedFd(native.createSocket({ domain: socketFamily.unix, type: datagram, protocol: 0 }));
    try {
      const address = name.startsWith('@')
        ? addressToSockaddr({ kind: 'unix-abstract', name: name.slice(1) })
        : addressToSockaddr({ kind: 'unix', path: name });
      native.connectSocket({ fd: socket.fd, address });
      return new ServiceManager(socket, complain);
    } catch (error) {
      socket.close();
      complain(`the service manager at ${name} cannot be told anything: ${(error as Error).message}`);
      return undefined;
    }
  }

  /** The VM is in its stage: what waits for this unit may start. */
  ready(status: string): void {
    this.#tell(['READY=1', `STATUS=${oneLine(status)}`]);
  }

  status(text: string): void {
    this.#tell([`STATUS=${oneLine(text)}`]);
  }

  stopping(): void {
    this.#tell(['STOPPING=1']);
  }

  /** Has a listening socket kept over our end (FileDescriptorStoreMax=): a successor gets it as one that is passed, and who connects meanwhile waits. */
  keep(name: string, socket: OwnedFd): void {
    // Told when what came before was taken: by then the number may be another file's.
    this.#tell(['FDSTORE=1', `FDNAME=${name}`], new OwnedFd(native.duplicateFd({ fd: socket.fd })));
  }

  /** When all was said. */
  async close(): Promise<void> {
    await this.#sent;
    this.#socket.close();
  }

  /** In order, each when the one before was taken. Takes `socket`. */
  #tell(lines: readonly string[], socket?: OwnedFd): void {
    const data = Buffer.from(lines.join('\n'));
    const fds = socket === undefined ? [] : [socket.fd];
    this.#sent = this.#sent.then(() => this.#send(data, fds)).finally(() => socket?.close());
  }

  async #send(data: Buffer, fds: readonly number[]): Promise<void> {
    try {
      for (let tries = 0; tries < mostTries; tries++) {
        if (native.sendMessage({ fd: this.#socket.fd, data, fds }) >= 0) return;
        await new Promise((resolve) => setTimeout(resolve, retryMs));
      }
      this.#complain('the service manager does not read what it is told');
    } catch (error) {
      this.#complain(`the service manager was not told: ${(error as NativeError).message}`);
    }
  }
}

function oneLine(text: string): string {
  return text.replace(/\s+/g, ' ');
}
