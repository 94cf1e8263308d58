// SPDX-License-Identifier: Apache-2.0
// The shipped profile rests on no C library in particular: what QEMU asks of it works with glibc and with musl, in stage `running`.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { load as parse } from 'js-yaml';
import { afterAll, expect, test } from 'vitest';
import type { SandboxEvent } from '../../core/launch/events.ts';
import { launchVmm } from '../../core/launch/launch.ts';
import { packagePath } from '../../native/package-path.ts';

const folder = mkdtempSync(join(tmpdir(), 'ratchet-libc-'));
afterAll(() => rmSync(folder, { recursive: true }));

const builds = [
  // QEMU waits by futex and ppoll; what it sleeps it can do without.
  { libc: 'glibc', command: ['gcc', '-pthread'], features: [], without: ['sleep Function not implemented'] },
  { libc: 'musl', command: ['musl-gcc', '-static'], features: ['musl'], without: [] },
] as const;

/** QEMU's profile, for a program that is no QEMU: without the roles of QEMU's threads, and so without the features that widen these. */
function profileForProgram(): Readonly<Record<string, unknown>> {
  const read = (file: string) => parse(readFileSync(packagePath(file), 'utf8'));
  const profile = read('profiles/qemu.yaml') as {
    readonly $schema: string;
    readonly include: readonly string[];
    readonly stages: Readonly<Record<string, { readonly roles?: unknown }>>;
  };
  const { features } = read('profiles/qemu/features.yaml') as { readonly features: Readonly<Record<string, unknown>> };
  const { $schema: _, ...kept } = profile;
  const { roles: __, ...running } = profile.stages['running'] ?? {};
  return {
    ...kept,
    vmm: 'program',
    include: profile.include.filter((file) => file !== 'qemu/features'),
    features: { musl: features['musl'] },
    stages: { ...profile.stages, running },
  };
}

test.each(builds)(
  '$libc: threads, memory, files, sockets',
  { timeout: 60_000 },
  async ({ libc, command, features, without }) => {
    const name = libc.replaceAll(/\W+/g, '-');
    const [program, file, socket] = ['', '.file', '.socket'].map((end) => join(folder, `${name}${end}`)) as [
      string,
      string,
      string,
    ];
    const [compiler, ...flags] = command;
    execFileSync(compiler, [...flags, '-O1', '-o', program, packagePath('test/evidence/libc-work.c')]);
    writeFileSync(file, '....');
    const server = createServer((peer) => peer.on('data', () => peer.end('y')));
    server.listen(socket);
    const events: SandboxEvent[] = [];
    await using sandbox = await launchVmm({
      command: [program, file, socket],
      profile: profileForProgram(),
      features,
      allow: [
        { request: 'open', target: file },
        { request: 'connect', target: `unix:${socket}` },
      ],
      until: 'start',
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const stop = sandbox.events.watch((event) => events.push(event));
    const lines = createInterface({ input: sandbox.stdout })[Symbol.asyncIterator]();
    expect((await lines.next()).value).toBe('built ok');
    await sandbox.enter('running');
    sandbox.stdin.write('.');
    const said: string[] = [];
    for (let line = await lines.next(); line.done !== true; line = await lines.next()) said.push(line.value);
    expect(said.filter((line) => !line.endsWith(' ok'))).toEqual(without);
    expect(said.at(-1)).toBe('done ok');
    expect(readFileSync(file, 'utf8')).toBe('abcd');
    await sandbox.exited;
    stop();
    server.close();
    const refused = events.filter(({ type }) => type === 'refusal').map(({ syscall }) => syscall);
    expect(refused.filter((syscall) => syscall !== 'execve')).toEqual([]);
  },
);
