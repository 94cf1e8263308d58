// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { RatchetError } from '../../core/errors.ts';
import { launchGroup } from '../../core/group/launch-group.ts';
import { parseGroup } from '../../core/group/parse-group.ts';
import { Restarts } from '../../core/group/restarts.ts';

const good = `version: 1
name: one
variables: {disk: /tmp/d.img}
members:
  vmm:
    command: [qemu-system-x86_64, [-chardev, "socket,id=c,path=\${disk0}"], -S]
    features: [vhost-user]
  storage:
    command: [qemu-storage-daemon, "--blockdev=\${disk}", "--export=\${export0}"]
    on-end: {restart: 2}
links:
  - vmm.disk0 <- storage.export0
`;

function problemOf(text: string, variables = {}): string {
  try {
    parseGroup(text, { file: 'g.yaml', variables });
  } catch (error) {
    if (error instanceof RatchetError) return `${error.code} ${error.message}`;
    throw error;
  }
  return 'none';
}

describe('a group file', () => {
  it('gives members in the order in which they are started, with variables filled in', () => {
    const group = parseGroup(good, { file: 'g.yaml', variables: { disk: '/x' } });
    expect(group.members.map(({ name }) => name)).toEqual(['storage', 'vmm']);
    expect(group.members[0]?.command).toEqual(['qemu-storage-daemon', '--blockdev=/x', '--export=${export0}']);
    expect(group.members[0]?.onEnd).toEqual({ kind: 'restart', times: 2, backoffMs: 100 });
    expect(group.links).toEqual([
      { kind: 'socket', client: { member: 'vmm', port: 'disk0' }, server: { member: 'storage', port: 'export0' } },
    ]);
  });

  const bad: readonly [string, (text: string) => string, string][] = [
    ['an unknown key', (text) => text.replace('features', 'feature'), 'g.yaml:7:5: unknown key "feature"'],
    [
      'an unknown member',
      (text) => text.replace('<- storage', '<- storge'),
      'g.yaml:12:5: there is no member "storge"',
    ],
    [
      'a link that is none',
      (text) => text.replace('<-', '->'),
      'g.yaml:12:5: "vmm.disk0 -> storage.export0" is no link',
    ],
    [
      'a port of two links',
      (text) => `${text}  - vmm.disk0 <- storage.other\n`,
      'g.yaml:13:5: the port vmm.disk0 is used by two links',
    ],
    [
      'a port that no word mentions',
      (text) => text.replace('${export0}', 'x'),
      "g.yaml:9:14: the link's port storage.export0 is not used",
    ],
    [
      'a name that stands for nothing',
      (text) => text.replace('${disk}', '${dsk}'),
      '${dsk} is neither a port of this member nor a variable',
    ],
    [
      'a cycle',
      (text) => `${text}  - storage.disk <- vmm.back\n`.replace('${disk}', '${disk} ${disk2}'),
      'no member can be started first',
    ],
    [
      'a restart of one end of a pair',
      (text) => text.replace('- vmm.disk0 <- storage.export0', '- {link: vmm.disk0 <- storage.export0, kind: pair}'),
      'storage cannot be restarted: vmm.disk0 <- storage.export0 is a pair',
    ],
    [
      'a grant that is none',
      (text) => text.replace('features: [vhost-user]', 'allow: [fly=away]'),
      'allow fly=away is not a grant',
    ],
    ['no members', () => 'version: 1\nname: one\nmembers: {}\n', 'a group has at least one member'],
    ['a text that is no YAML', () => 'version: [', 'g.yaml:1:'],
  ];
  it.each(bad)('is refused for %s', (_, change, message) => {
    const problem = problemOf(change(good));
    expect(problem).toMatch(/^GROUP_INVALID g\.yaml:/);
    expect(problem).toContain(message);
  });

  it('is refused for a variable that it does not have', () => {
    expect(problemOf(good, { dsk: '/x' })).toContain('the group one has no variable dsk');
  });

  it('must be there', async () => {
    await expect(launchGroup({ group: '/nowhere/g.yaml' })).rejects.toThrow('/nowhere/g.yaml cannot be read (ENOENT)');
  });
});

describe('restarts', () => {
  it('wait twice as long each time, and end when there were too many within a minute', () => {
    const restarts = new Restarts();
    const at = (now: number): number | undefined => restarts.next(3, 100, now);
    expect([at(0), at(1000), at(2000), at(3000)]).toEqual([100, 200, 400, undefined]);
    // The first two are forgotten.
    expect(at(61_500)).toBe(200);
  });
});
