// SPDX-License-Identifier: Apache-2.0
// `ratchet run --group` on one of two hosts, with a Linux guest, and `ratchet ctl` for it.
import { existsSync, readdirSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { controlEvents, controlRequest } from '../../../core/control/client.ts';
import { GuestConsole } from '../../../core/demo/guest-console.ts';
import type { GroupStatus } from '../../../core/group/group-report.ts';
import type { SandboxEvent } from '../../../core/launch/events.ts';
import { type Started, startRatchet } from '../../cli/ratchet.ts';
import { waitFor } from '../../launch/processes.ts';
import { promptPattern } from '../../matrix/guest/linux.ts';
import { guestMs, guestOf } from '../guest.ts';
import { addresses, type Host, type TwoHosts } from './two-hosts.ts';

const diskBytes = 8 << 20;

export interface HostGroupOptions {
  readonly folder: string;
  readonly host: Host;
  /** Names its files; several groups of one host have several. */
  readonly name: string;
  /** The guest comes from the other host. */
  readonly incoming?: boolean;
  /** Of the receiving side: the first of two that it may be asked at. */
  readonly port: number;
}

export class HostGroup {
  readonly run: Started;
  readonly control: string;
  readonly disk: string;
  readonly console: GuestConsole;
  readonly migration: string;
  readonly disks: { readonly nodes: readonly string[]; readonly at: string };
  readonly events: SandboxEvent[] = [];
  readonly #arrives: boolean;

  constructor(hosts: TwoHosts, { folder, host, name, incoming = false, port }: HostGroupOptions) {
    this.control = join(folder, `${name}.ctl`);
    this.disk = join(folder, `${name}.img`);
    this.#arrives = incoming;
    const tpm = join(folder, `${name}.tpm`);
    for (const file of [this.disk, tpm]) writeFileSync(file, '');
    truncateSync(this.disk, diskBytes);
    this.migration = `tcp:${addresses.there}:${port}`;
    this.disks = { nodes: ['disk'], at: `tcp:${addresses.there}:${port + 1}` };
    const range = `tcp:${addresses.there}:4000-4999`;
    const variables = { ...guestOf(folder), accel: 'tcg', memory: '96', disk: this.disk, tpm, at: range, to: range };
    this.run = startRatchet(
      [
        ...['run', '--group', 'examples/group/moving.yaml', '--control', this.control],
        ...(incoming ? ['--incoming'] : []),
        ...Object.entries(variables).flatMap(([key, value]) => ['--set', `${key}=${value}`]),
      ],
      hosts.enter(host),
      // Its own folder for temporary files, so that what is left there is its own.
      { stdio: ['pipe', 'pipe', 'pipe'], env: { ...process.env, TMPDIR: folder } },
    );
    if (this.run.child.stdout === null) throw new Error('no stdout');
    this.console = new GuestConsole(this.run.child.stdout);
  }

  /** When all members are tightened and verified. */
  async started(): Promise<GroupStatus> {
    const ended = (): boolean => this.run.child.exitCode !== null || this.run.child.signalCode !== null;
    await waitFor(this.control, () => existsSync(this.control) || ended(), 30_000);
    if (ended()) throw new Error(`the group has ended: ${this.run.stderr()}`);
    const status = (await this.request('status')) as GroupStatus;
    void this.#readEvents();
    return status;
  }

  async request(command: string, given: object = {}): Promise<unknown> {
    return await controlRequest(this.control, command, given);
  }

  /** What a shell command of the guest printed. @throws when its exit status is not 0. */
  async shell(command: string): Promise<string> {
    if (!this.#arrives) await this.console.waitForLine(promptPattern, guestMs);
    const from = this.console.text.length;
    this.run.child.stdin?.write(`${command}\n`);
    const prompt = await this.console.waitForLine(promptPattern, guestMs, from);
    const text = this.console.text.slice(from);
    const output = text.slice(0, text.lastIndexOf(prompt[0])).replaceAll('\r', '').trim();
    if (prompt[1] !== '0') throw new Error(`the guest's "${command}" ended with ${prompt[1]}: ${output}`);
    return output;
  }

  async #readEvents(): Promise<void> {
    for await (const line of controlEvents(this.control)) this.events.push(JSON.parse(line) as SandboxEvent);
  }
}

/** The folders of links that groups have while they run. */
export function linkFolders(folder: string): readonly string[] {
  return readdirSync(folder).filter((name) => name.startsWith('ratchet-group-'));
}
