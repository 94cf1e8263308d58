// SPDX-License-Identifier: Apache-2.0
// A guest with a folder of the host, served by virtiofsd under a user of its own.
import { chownSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { load as parse } from 'js-yaml';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { launchGroup } from '../../core/group/launch-group.ts';
import { packagePath } from '../../native/package-path.ts';
import { GuestGroup, guestOf } from './guest.ts';

const user = 61_994;
let folder: string;
let shared: string;
let readOnly: string;
let running: GuestGroup;

/** The example, with `more` in the member that serves the folder. */
function example(more: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  const group = parse(readFileSync(packagePath('examples/group/folder.yaml'), 'utf8')) as {
    readonly members: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  };
  return { ...group, members: { ...group.members, files: { ...group.members['files'], ...more } } };
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'ratchet-folder-'));
  shared = join(folder, 'shared');
  readOnly = join(folder, 'read-only');
  mkdirSync(shared);
  mkdirSync(readOnly);
  writeFileSync(join(readOnly, 'fixed'), 'fixed\n');
  writeFileSync(join(shared, 'from-host'), 'hello guest\n');
  writeFileSync(join(folder, 'beside'), 'not shared\n');
  chownSync(shared, user, user);
  const files = { layers: { user: String(user) }, allow: [`open=${shared}/**`, `open=${readOnly}/**:ro`] };
  running = await GuestGroup.start({ group: example(files), variables: variables() });
});

afterAll(async () => {
  await running?.[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true });
});

function variables(): Readonly<Record<string, string>> {
  return { ...guestOf(folder), accel: 'tcg', folder: shared };
}

/** In the shared folder. */
const inGuest = (...commands: readonly string[]): Promise<string> =>
  running.shell(`cd /mnt${shared} && ${commands.join(' && ')}`);

describe('a guest with a folder of the host', () => {
  it('runs when virtiofsd is tightened too, and has nothing but the folder', async () => {
    const { ok, members } = await running.group.attest();
    const { stage, mechanisms } = members['files'] ?? { stage: undefined, mechanisms: [] };
    expect([ok, stage]).toEqual([true, 'running']);
    expect(mechanisms).toContainEqual({ name: 'root', state: 'enforced', reason: `granted: ${shared}, ${readOnly}` });
    for (const name of ['user', 'capabilities', 'landlock-files', 'namespace-pid'])
      expect(mechanisms).toContainEqual(expect.objectContaining({ name, state: 'enforced' }));
    await running.shell('mkdir /mnt && mount -t virtiofs host /mnt');
    const found = (await running.shell('find /mnt')).split('\n').map((path) => path.slice('/mnt'.length));
    expect(found.filter((path) => ![shared, readOnly].some((each) => each.startsWith(path))).sort()).toEqual(
      [join(readOnly, 'fixed'), join(shared, 'from-host')].sort(),
    );
  });

  it('reads and writes its files', async () => {
    expect(await inGuest('cat from-host')).toBe('hello guest');
    await inGuest("echo 'hello host' >from-guest", 'sync');
    expect(readFileSync(join(shared, 'from-guest'), 'utf8')).toBe('hello host\n');
    writeFileSync(join(shared, 'later'), 'more\n');
    expect(await inGuest('cat later')).toBe('more');
  });

  it('makes, changes, renames, links and removes them', async () => {
    await inGuest('mkdir -p a/b', 'echo one >a/one', 'echo two >>a/one', 'mv a/one a/b/two', 'ln a/b/two hard');
    await inGuest('ln -s a/b/two soft', 'chmod 600 hard', "touch -d '2001-02-03 04:05:06' hard", 'cp -p hard copy');
    await inGuest(
      'truncate -s 6 hard',
      'mkfifo pipe',
      'mkdir gone',
      'rmdir gone',
      'rm from-guest later',
      'df . >/dev/null',
    );
    await inGuest('dd if=/dev/zero of=zeros bs=64k count=16 conv=fsync 2>/dev/null');
    expect(readdirSync(shared).sort()).toEqual(['a', 'copy', 'from-host', 'hard', 'pipe', 'soft', 'zeros']);
    expect(readFileSync(join(shared, 'soft'), 'utf8')).toBe('one\ntw');
    expect(statSync(join(shared, 'zeros')).size).toBe(1 << 20);
    const { mode, mtime } = statSync(join(shared, 'copy'));
    expect([mode & 0o777, mtime.getUTCFullYear()]).toEqual([0o600, 2001]);
  });

  it('makes them as the user of virtiofsd, whoever it is in the guest, and no devices', async () => {
    await inGuest('mkdir -m 777 open', 'echo text >open/set', 'chmod 4777 open/set');
    await running.shell('mkdir -p /etc && echo guest:x:1000:1000::/:/bin/sh >/etc/passwd');
    await inGuest("su guest -c 'echo mine >open/mine; echo more >>open/set'");
    expect(['mine', 'set'].map((name) => statSync(join(shared, 'open', name)).uid)).toEqual([user, user]);
    expect(statSync(join(shared, 'open', 'set')).mode & 0o7777).toBe(0o777);
    await expect(inGuest('mknod null c 1 3')).rejects.toThrow('Permission denied');
  });

  it('changes nothing where it may only read', async () => {
    expect(await running.shell(`cat /mnt${readOnly}/fixed`)).toBe('fixed');
    await expect(running.shell(`echo changed >/mnt${readOnly}/fixed`)).rejects.toThrow('Read-only file system');
    await expect(running.shell(`rm /mnt${readOnly}/fixed`)).rejects.toThrow('Read-only file system');
  });

  it('is refused nothing that it needs', () => {
    const refused = running.events.filter(({ type, stage }) => type === 'refusal' && stage === 'running');
    expect(refused).toEqual([]);
  });

  it('ends with its folder, where that is declared so', async () => {
    process.kill(running.group.member('files').pid, 'SIGKILL');
    expect(await running.group.exited).toMatchObject({ member: 'files', status: { signal: 'SIGKILL' } });
  });
});

describe('virtiofsd as a member', () => {
  it('is not restarted: it has one client in its life', async () => {
    const launched = launchGroup({ group: example({ 'on-end': { restart: 3 } }), variables: variables() });
    await expect(launched).rejects.toMatchObject({
      code: 'GROUP_INVALID',
      message: expect.stringContaining('has one client in its life'),
    });
  });

  it.each(['*.img', '*/deep/**'])(
    'is granted no part of a folder (%s), of which nobody would judge the rest',
    async (pattern) => {
      const launched = launchGroup({
        group: example({ allow: [`open=${shared}/${pattern}`] }),
        variables: variables(),
      });
      await expect(launched).rejects.toMatchObject({
        code: 'ARGUMENT_INVALID',
        message: expect.stringContaining('is no whole folder'),
      });
    },
  );

  it.each(['--daemonize', '--socket-path=/tmp/socket', '-osandbox=namespace', 'cache=none,sandbox=chroot'])(
    'takes no %s',
    async (word) => {
      const command = ['/usr/lib/qemu/virtiofsd', '--fd=${fs0}', '-o', 'source=/tmp', word];
      const launched = launchGroup({ group: example({ command }), variables: variables() });
      await expect(launched).rejects.toMatchObject({ code: 'VMM_ARGUMENT_CONFLICT' });
    },
  );
});
