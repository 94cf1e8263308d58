// SPDX-License-Identifier: Apache-2.0
// A template unit for VMs of one profile, and the unit of the sockets by which each is reached. The service is the launcher; its broker and its VMM live and end with it.
//
// None of the settings that systemd makes with seccomp is there (SystemCallFilter=, RestrictNamespaces=, LockPersonality= and so on): the kernel shows installed
// programs only to a launcher without a filter of its own, so the launcher could no longer prove what runs in its VMM.
import { RatchetError } from '../errors.ts';
import type { Layers } from '../policy/layers.ts';

export interface UnitFacts {
  /** The profile as `run --profile` takes it. */
  readonly profile: string;
  readonly features: readonly string[];
  readonly layers: Layers | undefined;
  /** The words that start ratchet. */
  readonly command: readonly string[];
}

export interface Unit {
  readonly fileName: string;
  readonly text: string;
}

/** @returns the service, then its sockets. @throws RatchetError ARGUMENT_INVALID for a path that a unit cannot hold. */
export function systemdUnits(facts: UnitFacts): readonly Unit[] {
  return [
    { fileName: 'ratchet@.service', text: service(facts) },
    { fileName: 'ratchet@.socket', text: sockets },
  ];
}

function service({ profile, features, layers, command }: UnitFacts): string {
  const words = [...command, 'run', '--profile', profile, ...features.flatMap((name) => ['--feature', name])];
  const devices = (layers?.files.write ?? []).filter((path) => path.startsWith('/dev/') && path !== '/dev/null');
  return `# A VM under ratchet; its sockets are those of ratchet@.socket. /etc/ratchet/%i.env has two lines:
#   RATCHET=--allow open=/images/%i.qcow2       further options of \`ratchet run\`, or nothing
#   VMM=qemu-system-x86_64 -nodefaults ...      the VMM's command line, split at blanks
[Unit]
Description=VM %i under ratchet
Requires=ratchet@%i.socket
After=ratchet@%i.socket network.target

[Service]
# Ready when the VM is in its stage, verified in every thread. Its stage is in the status text.
Type=notify
NotifyAccess=main
EnvironmentFile=/etc/ratchet/%i.env
ExecStart=${words.map(quoted).join(' ')} $RATCHET -- $VMM
# The launcher asks its VMM to quit, and ends it after five seconds; systemd ends what is left.
KillMode=mixed
TimeoutStopSec=20
Restart=on-failure
# Sockets that \`run\` bound itself (--control, --agents) are kept over a restart too.
FileDescriptorStoreMax=2
# One group for launcher, broker and VMM: MemoryMax=, TasksMax= and CPUQuota= of a drop-in hold for all of them.
Delegate=yes
OOMPolicy=stop
# The VMM and the broker give up all of this by themselves; here it is the launcher's turn. What systemd makes with seccomp
# is left out: the kernel shows installed filters only to a launcher that has none.
NoNewPrivileges=yes
DevicePolicy=closed
${['char-pts', ...devices].map((device) => `DeviceAllow=${devicePath(device)} rw`).join('\n')}
ProtectSystem=full
PrivateTmp=yes
KeyringMode=private
UMask=0077
LimitCORE=0
# The VMM's program is kept under a number that its limit does not reach: 16383.
LimitNOFILE=65536

[Install]
WantedBy=multi-user.target
`;
}

const sockets = `# \`ratchet ctl /run/ratchet/%i.control\`, and agents that ask the broker (brokers/PROTOCOL.md). A first contact starts the VM.
[Unit]
Description=Sockets of VM %i under ratchet

[Socket]
ListenStream=%t/ratchet/%i.control
ListenSequentialPacket=%t/ratchet/%i.agents
SocketMode=0600
# From systemd 258 on, for what comes before ratchet, which refuses descriptors itself (Linux 6.16).
# AcceptFileDescriptors=no
DirectoryMode=0700
RemoveOnStop=yes

[Install]
WantedBy=sockets.target
`;

/** A word of ExecStart= as it stands: systemd expands %, and $ where no second one follows. */
function quoted(word: string): string {
  if (/\p{Cc}/u.test(word)) throw unfit(word);
  const plain = word.replaceAll('%', '%%').replaceAll('$', '$$$$');
  return /^[\w./:=@%-]+$/.test(plain) ? plain : `"${plain.replace(/[\\"]/g, '\\$&')}"`;
}

/** Blanks end it, and nothing quotes them. */
function devicePath(path: string): string {
  if (/[\s\p{Cc}"'\\]/u.test(path)) throw unfit(path);
  return path.replaceAll('%', '%%');
}

function unfit(text: string): RatchetError {
  return new RatchetError('ARGUMENT_INVALID', `a unit cannot hold the path ${JSON.stringify(text)}`, {
    next: 'rename it: a control character would begin another setting, and a device has no blank, quote or backslash',
  });
}
