// SPDX-License-Identifier: Apache-2.0
// What the adapter says to a QEMU that behaves as the installed one does not: newer, or with a guest that refuses.
import { describe, expect, test } from 'vitest';
import { assertNeeds } from '../../core/launch/assert-needs.ts';
import { loadProfile } from '../../core/profile-files.ts';
import { Hotplug } from '../../core/qemu/hotplug.ts';
import { migrate } from '../../core/qemu/migrate.ts';
import { acceptMigration } from '../../core/qemu/migrate-incoming.ts';
import { needsOf } from '../../core/qemu/needs.ts';
import { directFdSource } from './direct-fd-source.ts';
import { FakeQemu, type ReceivedCommand } from './fake-qemu.ts';

const fds = directFdSource();

type Answers = Readonly<Record<string, (qemu: Talker, command: ReceivedCommand) => void>>;

/** Answers command after command with `{}`, or as `answers` says, and keeps what was asked. */
class Talker extends FakeQemu {
  readonly asked: string[] = [];

  constructor(answers: Answers = {}) {
    super();
    void this.#talk(answers);
  }

  async #talk(answers: Answers): Promise<void> {
    for (;;) {
      const command = await this.command();
      this.asked.push(`${command.execute} ${JSON.stringify(command.arguments ?? {})}`);
      const answer = answers[command.execute];
      if (answer === undefined) this.answer(command);
      else answer(this, command);
    }
  }

  event(name: string, data: object): void {
    this.send(`${JSON.stringify({ event: name, data })}\r\n`);
  }

  refuse(command: ReceivedCommand, qmpClass: string): void {
    this.send(`${JSON.stringify({ error: { class: qmpClass, desc: 'because' }, id: command.id })}\r\n`);
  }
}

describe('unplugging', () => {
  test('a guest that refuses is an error, and the backend stays', async () => {
    using qemu = new Talker({
      device_del: (self, command) => {
        self.answer(command);
        self.event('DEVICE_DELETED', { device: 'another', path: '/x' });
        self.event('DEVICE_UNPLUG_GUEST_ERROR', { device: 'nic0', path: '/x' });
      },
    });
    await expect(new Hotplug(qemu.client, fds).removeNic('nic0')).rejects.toMatchObject({
      code: 'QMP_ERROR',
      message: expect.stringContaining('refuses'),
    });
    expect(qemu.asked).toEqual(['device_del {"id":"nic0"}']);
  });

  test('a device that went after an earlier call gave up still has its backend removed', async () => {
    using qemu = new Talker({ device_del: (self, command) => self.refuse(command, 'DeviceNotFound') });
    await new Hotplug(qemu.client, fds).removeNic('nic0');
    expect(qemu.asked).toEqual(['device_del {"id":"nic0"}', 'netdev_del {"id":"nic0-net"}']);
  });

  test('an event that comes before the reply counts', async () => {
    using qemu = new Talker({
      device_del: (self, command) => {
        self.event('DEVICE_DELETED', { device: 'nic0', path: '/x' });
        self.answer(command);
      },
    });
    await new Hotplug(qemu.client, fds).removeNic('nic0');
  });
});

describe('an incoming migration', () => {
  test.each([
    { major: 7, minor: 1, uri: 'tcp:127.0.0.1:0' },
    { major: 7, minor: 2, uri: 'tcp:fd:ratchet-migration' },
    { major: 8, minor: 1, uri: 'tcp:fd:ratchet-migration' },
    { major: 8, minor: 2, uri: 'tcp:127.0.0.1:0' },
    { major: 10, minor: 0, uri: 'tcp:127.0.0.1:0' },
  ])('on QEMU $major.$minor listens at $uri', async ({ major, minor, uri }) => {
    using qemu = new Talker();
    const version = { major, minor, micro: 0 };
    const { completed } = await acceptMigration({ qmp: qemu.client, version }, fds, 'tcp:127.0.0.1:0', {});
    expect(qemu.asked.at(-1)).toBe(`migrate-incoming {"uri":"${uri}"}`);
    qemu.client.close();
    await expect(completed).rejects.toMatchObject({ code: 'MIGRATION_FAILED' });
  });
});

describe('an outgoing migration', () => {
  test('that completes while it is cancelled for its time is a success', async () => {
    using qemu = new Talker({
      migrate_cancel: (self, command) => {
        self.answer(command);
        self.event('MIGRATION', { status: 'completed' });
      },
      'query-migrate': (self, command) => self.answer(command, { status: 'completed', 'total-time': 21, downtime: 1 }),
    });
    const report = await migrate(qemu.client, fds, 'unix:/nowhere', { channels: 2, timeoutMs: 20 });
    expect(report).toMatchObject({ channels: 2, totalMs: 21, downtimeMs: 1 });
  });

  test('that QEMU refuses leaves no descriptor behind', async () => {
    using qemu = new Talker({
      migrate: (self, command) => self.refuse(command, 'GenericError'),
      'query-status': (self, command) => self.answer(command, { status: 'running', running: true }),
    });
    const source = { ...fds, connect: () => fds.bind('unix-abstract:ratchet-test-refused', 0) };
    await expect(migrate(qemu.client, source, 'unix:/nowhere', {})).rejects.toMatchObject({
      code: 'MIGRATION_FAILED',
      message: expect.stringContaining('because'),
    });
    expect(qemu.asked).toContain('closefd {"fdname":"ratchet-migration"}');
  });
});

describe('what QEMU would end of', () => {
  const consoles = (type: string) => ({
    'qom-list': (qemu: Talker, command: ReceivedCommand) => qemu.answer(command, [{ name: 'console[0]', type }]),
  });
  const version = (major: number) => ({ major, minor: 0, micro: 0 });

  test.each([
    [7, 'child<qemu-graphic-console>', 0],
    [10, 'child<qemu-graphic-console>', 1],
    [10, 'child<qemu-fixed-text-console>', 0],
    [11, 'child<qemu-graphic-console>', 1],
  ])('QEMU %i with %s: %i', async (major, type, count) => {
    using qemu = new Talker(consoles(type));
    expect(await needsOf(qemu.client, version(major))).toHaveLength(count);
  });

  test('is refused at the barrier, with the feature that it needs, unless the stage permits it', async () => {
    using qemu = new Talker(consoles('child<qemu-graphic-console>'));
    const needs = await needsOf(qemu.client, version(10));
    expect(() => assertNeeds(needs, loadProfile('qemu'), ['running'])).toThrow(
      expect.objectContaining({ code: 'VMM_ARGUMENT_CONFLICT', next: expect.stringContaining('--feature graphics') }),
    );
    assertNeeds(needs, loadProfile('qemu', { features: ['graphics'] }), ['running']);
    assertNeeds(needs, loadProfile('qemu'), []);
  });
});
