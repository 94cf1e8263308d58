// SPDX-License-Identifier: Apache-2.0
// Who wants to run too early, or to reach what he was not linked to.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, copyFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, connect as dial, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { load as parse } from 'js-yaml';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { controlledGroup } from '../../core/control/group-commands.ts';
import { bindControl } from '../../core/control/server.ts';
import { launchGroup } from '../../core/group/launch-group.ts';
import { packagePath } from '../../native/package-path.ts';
import { childrenOf, statusField, waitFor } from '../launch/processes.ts';
import { buildCounterGuest } from '../matrix/guest/counter.ts';
import { buildProgram } from '../native/build-program.ts';

let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'ratchet-attacks-'));
  chmodSync(folder, 0o755);
  // So that the folder of links is found among no others.
  vi.stubEnv('TMPDIR', folder);
  writeFileSync(join(folder, 'disk'), Buffer.alloc(1 << 20));
});

afterAll(() => {
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true });
});

const storage = () => ({
  command: [
    'qemu-storage-daemon',
    ['--blockdev', `driver=file,node-name=disk,filename=${folder}/disk`],
    ['--nbd-server', `addr.type=fd,addr.str=\${nbd}`, '--export', 'type=nbd,id=e,node-name=disk'],
  ],
  allow: [`open=${folder}/disk`],
});

const vmm = (...more: readonly string[]) => ({
  command: [
    'qemu-system-x86_64',
    ['-no-user-config', '-nodefaults', '-display', 'none', ...more],
    ['-blockdev', `driver=nbd,node-name=d,server.type=unix,server.path=\${disk},export=disk,read-only=on`],
  ],
  allow: [`open=${folder}/*`, `bind=unix:${folder}/*`],
});

const groupOf = (members: object) => ({
  version: 1,
  name: 'attacked',
  members,
  links: ['vmm.disk <- storage.nbd'],
});

describe('the first instruction of a guest', () => {
  /** A guest that writes to its serial line at once, in a QEMU that is not set up before somebody connects to `gate`. */
  const hasty = (name: string) => {
    const [gate, words] = [join(folder, `${name}.gate`), join(folder, `${name}.words`)];
    const guest = ['-machine', 'pc,accel=tcg', '-m', '2', '-bios', buildCounterGuest(folder)];
    const serial = ['-chardev', `file,id=s,path=${words}`, '-serial', 'chardev:s'];
    writeFileSync(words, '');
    return {
      words: () => readFileSync(words, 'utf8'),
      group: groupOf({
        storage: storage(),
        vmm: vmm(...guest, ...serial, '-chardev', `socket,id=g,path=${gate},server=on,wait=on`),
      }),
      open: () => waitFor('the gate', () => connected(gate)),
    };
  };

  it('is run when all members are tightened', async () => {
    const { group, open, words } = hasty('good');
    const launched = launchGroup({ group });
    const through = await open();
    await using running = await launched;
    expect((await running.attest()).ok).toBe(true);
    await waitFor('the guest', () => words().length > 0);
    through.destroy();
  });

  it('is not run when a single member cannot be', async () => {
    const { group, open, words } = hasty('bad');
    const before = childrenOf(process.pid);
    const launched = launchGroup({ group });
    launched.catch(() => undefined);
    const daemon = await waitFor('the daemon', () =>
      childrenOf(process.pid).find((pid) => !before.includes(pid) && statusField(pid, 'Name') === 'qemu-storage-da'),
    );
    // Its tracer keeps everybody else from tracing it: no later stage can be installed, and none be seen.
    await waitFor('the daemon to be set up', () => readdirSync(folder).includes('bad.gate'));
    const tracer = spawn('strace', ['-qq', '-e', 'trace=none', '-o', '/dev/null', '-p', String(daemon)], {
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    await waitFor('a tracer', () => Number(statusField(daemon, 'TracerPid')) > 0);
    const through = await open();
    await expect(launched).rejects.toThrow(/^member storage: /);
    expect(words()).toBe('');
    through.destroy();
    await ended(tracer);
    await waitFor('every process ended', () => childrenOf(process.pid).every((pid) => before.includes(pid)));
  });
});

/** Undefined while nobody listens there. */
async function connected(path: string): Promise<Socket | undefined> {
  const socket = dial(path);
  try {
    await once(socket, 'connect');
    return socket;
  } catch {
    return undefined;
  }
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
}

describe('a member that has been taken over', () => {
  let server: Server;

  beforeAll(async () => {
    server = createServer((socket) => void socket.destroy());
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  });

  afterAll(() => void server.close());

  /** QEMU's profile lets it make sockets and asks the broker about each address: of all shipped ones it permits most. */
  function profile(): string {
    const raw = parse(readFileSync(packagePath('profiles/qemu.yaml'), 'utf8')) as {
      readonly include: readonly string[];
      readonly stages: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
    };
    const stages = Object.entries(raw.stages).map(([name, { roles: _, ...stage }]) => [name, stage]);
    const include = raw.include.filter((file) => file !== 'qemu/features');
    const file = join(folder, 'caller.yaml');
    writeFileSync(file, JSON.stringify({ ...raw, vmm: 'program', include, stages: Object.fromEntries(stages) }));
    return file;
  }

  it('reaches no link of others, no control socket and no address, by whatever name', async () => {
    const program = join(folder, 'caller');
    copyFileSync(buildProgram('caller', 'test/group/programs'), program);
    const control = join(folder, 'group.ctl');
    const controlServer = await bindControl(control);
    await using group = await launchGroup({
      group: groupOf({
        storage: storage(),
        vmm: vmm('-machine', 'none'),
        caller: { command: [program], profile: profile(), layers: { without: ['namespace-net'] } },
      }),
      members: { caller: { stdio: ['pipe', 'pipe', 'inherit'] } },
    });
    controlServer.serve(controlledGroup(group));
    const links = readdirSync(folder).filter((name) => name.startsWith('ratchet-group-'));
    expect(links).toHaveLength(1);
    const link = join(folder, links[0] ?? 'none', 'storage.nbd');
    const address = server.address();
    const port = typeof address === 'object' ? address?.port : undefined;
    const caller = group.member('caller');
    const lines = createInterface({ input: caller.stdout })[Symbol.asyncIterator]();
    expect((await lines.next()).value).toBe('ready');
    const call = async (where: string): Promise<unknown> => {
      caller.stdin.write(`${where}\n`);
      return (await lines.next()).value;
    };
    for (const stage of ['running', 'sealed']) {
      if (stage === 'sealed') await group.enter(stage);
      for (const where of [`unix ${link}`, `unix ${link}.new`, `unix ${control}`, `abstract ${link}`, `tcp ${port}`])
        expect(`${stage}: ${where}: ${await call(where)}`).toBe(`${stage}: ${where}: EACCES`);
    }
    // What refuses it is not that nobody is there.
    const anyone = dial(link);
    await once(anyone, 'connect');
    anyone.destroy();
    await controlServer.close();
  });
});
