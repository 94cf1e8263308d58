// SPDX-License-Identifier: Apache-2.0
import { RatchetError } from '../errors.ts';

export interface PreparedArguments {
  /** What QEMU is started with, without argv[0]. */
  readonly args: readonly string[];
  /** The user asked for `-S` himself: the guest must be left paused. */
  readonly userPaused: boolean;
  /** The value of `-incoming`, when the user gave one. */
  readonly incoming: string | undefined;
}

/** Name of the character device and so of ratchet's own monitor inside QEMU. */
const monitorId = 'ratchet-qmp';

/**
 * Adds ratchet's monitor and `-S` to a QEMU command line.
 * @param args the user's arguments, without argv[0].
 * @throws RatchetError VMM_ARGUMENT_CONFLICT for an argument that cannot work under ratchet, with the cure; ARGUMENT_INVALID.
 */
export function prepareArguments(args: readonly string[], { qmpFd }: { readonly qmpFd: number }): PreparedArguments {
  let userPaused = false;
  let incoming: string | undefined;
  for (const { name, value } of parseOptions(args)) {
    const conflict = conflicts[name];
    if (conflict?.(value) === true) throw conflictError(name, value);
    if (name === 'S') userPaused = true;
    if (name === 'incoming') incoming = value;
  }
  return {
    args: [
      ...args,
      '-chardev',
      `socket,id=${monitorId},fd=${qmpFd}`,
      '-mon',
      `chardev=${monitorId},mode=control`,
      ...(userPaused ? [] : ['-S']),
    ],
    userPaused,
    incoming,
  };
}

interface QemuOption {
  readonly name: string;
  /** Empty for an option that takes none. */
  readonly value: string;
}

/** QEMU's own reading (softmmu/vl.c, `lookup_opt`): one or two dashes, the value is always the next word; a word without a dash is a disk image. */
function parseOptions(args: readonly string[]): readonly QemuOption[] {
  const options: QemuOption[] = [];
  for (let index = 0; index < args.length; index++) {
    const word = args[index] ?? '';
    if (!word.startsWith('-') || word === '-') continue;
    const name = word.replace(/^--?/, '');
    if (withoutValue.has(name)) {
      options.push({ name, value: '' });
      continue;
    }
    const value = args[++index];
    if (value === undefined) throw new RatchetError('ARGUMENT_INVALID', `QEMU's option ${word} needs a value`);
    options.push({ name, value });
  }
  return options;
}

/** The options that take no value: all of QEMU 7.2's, and those of QEMU 5 to 10 (qemu-options.hx). Every other one takes exactly one. */
export const withoutValue: ReadonlySet<string> = new Set([
  'S',
  'alt-grab',
  'async-teardown',
  'audio-help',
  'ctrl-grab',
  'daemonize',
  'enable-fips',
  'enable-kvm',
  'enable-sync-profile',
  'full-screen',
  'h',
  'help',
  'mem-prealloc',
  'no-acpi',
  'no-fd-bootchk',
  'no-hpet',
  'no-quit',
  'no-reboot',
  'no-shutdown',
  'no-user-config',
  'nodefaults',
  'nographic',
  'nouserconfig',
  'old-param',
  'only-migratable',
  'portrait',
  'preconfig',
  's',
  'semihosting',
  'singlestep',
  'snapshot',
  'usb',
  'version',
  'win2k-hack',
  'xen-attach',
  'xen-domid-restrict',
]);

const always = (): boolean => true;

/** When an option cannot be served. The cures are below, by the same names. */
const conflicts: Readonly<Record<string, (value: string) => boolean>> = {
  daemonize: always,
  runas: always,
  chroot: always,
  preconfig: always,
  'async-teardown': always,
  // `off` changes nothing.
  sandbox: (value) => !/^(enable=)?off(,|$)/.test(value),
  'run-with': always,
  chardev: (value) => value.split(',').includes(`id=${monitorId}`),
};

const cures: Readonly<Record<string, string>> = {
  daemonize: 'leave it out: a VMM that forks away cannot be tightened; put the launcher in the background instead',
  runas: 'leave it out: no_new_privs forbids it; start the launcher as that user',
  chroot: 'leave it out: the profile decides which files can be opened',
  preconfig:
    "leave it out: ratchet waits for the built machine, which preconfig puts off; the machine's options can be given as arguments",
  'async-teardown': 'leave it out: it clones the VMM into a process that would escape the later stages',
  sandbox: "leave it out: the profile is stricter, and a filter that QEMU adds itself would make ratchet's proof fail",
  'run-with': 'leave it out: it changes the root, the user or the processes of a VMM that is confined already',
  chardev: `choose another id: ${monitorId} is ratchet's own`,
};

function conflictError(name: string, value: string): RatchetError {
  const shown = value === '' ? `-${name}` : `-${name} ${value}`;
  return new RatchetError('VMM_ARGUMENT_CONFLICT', `QEMU's ${shown} does not go together with ratchet`, {
    next: cures[name] ?? 'leave it out',
  });
}
