// SPDX-License-Identifier: Apache-2.0
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, describe, expect, test } from 'vitest';

interface Requirements {
  readonly oldestNode: readonly number[];
  readonly requiredPackages: Readonly<
    Record<'demo' | 'test', readonly { name: string; why: string; present: string[] }[]>
  >;
}

const requirements = (await import(
  pathToFileURL(resolve('core/setup/requirements.mjs')).href
)) as unknown as Requirements;

describe('set-up', () => {
  const folder = mkdtempSync(join(tmpdir(), 'ratchet-setup-'));
  afterAll(() => rmSync(folder, { recursive: true }));

  test('refuses a purpose that it does not know', () => {
    expect(setUp(['benchmark'], process.env.PATH)).toMatchObject({
      status: 1,
      stdout: '',
      stderr: expect.stringContaining('usage:'),
    });
  });

  test('ends with the list of what to install, and why, on a machine without apt-get', () => {
    const { status, stdout, stderr } = setUp(['test'], folder);
    expect({ status, stdout }).toEqual({ status: 1, stdout: '' });
    expect(stderr).toContain('no apt-get');
    for (const { name, why } of requirements.requiredPackages.test.filter(
      ({ present }) => !present[0]?.startsWith('/'),
    )) {
      expect(stderr).toContain(`${name} (${why})`);
    }
  });

  test('does not take a busybox that needs shared libraries', () => {
    const dynamic = join(folder, 'dynamic');
    mkdirSync(dynamic);
    // Any program of this machine will do: Node is one that needs its loader.
    symlinkSync(process.execPath, join(dynamic, 'busybox'));
    expect(setUp(['demo'], dynamic)).toMatchObject({ status: 1, stderr: expect.stringContaining('busybox-static') });
  });

  test('shows the end of the output of a program that failed', () => {
    writeFileSync(join(folder, 'apt-get'), '#!/bin/sh\necho "E: the archive is on fire"\nexit 100\n', { mode: 0o755 });
    const { status, stdout, stderr } = setUp(['demo'], folder);
    rmSync(join(folder, 'apt-get'));
    expect({ status, stdout }).toEqual({ status: 1, stdout: '' });
    expect(stderr).toContain('exited with 100');
    expect(stderr).toContain('E: the archive is on fire');
  });

  test('asks for the same Node as package.json', () => {
    const { engines } = JSON.parse(readFileSync('package.json', 'utf8')) as { engines: { node: string } };
    expect(engines.node).toBe(`>=${requirements.oldestNode.join('.')}`);
  });

  test('asks for everything that the demo needs when it prepares the tests', () => {
    expect(requirements.requiredPackages.test).toEqual(expect.arrayContaining([...requirements.requiredPackages.demo]));
  });
});

/** Set-up as a user starts it, with PATH deciding which programs the machine seems to have. */
function setUp(args: readonly string[], path: string | undefined) {
  const result = spawnSync(process.execPath, ['core/setup/setup.mjs', ...args], {
    env: { ...process.env, PATH: path },
    encoding: 'utf8',
  });
  return { status: result.status, stdout: result.stdout, stderr: result.stderr };
}
