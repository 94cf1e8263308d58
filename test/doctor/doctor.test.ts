// SPDX-License-Identifier: Apache-2.0
import { spawnSync } from 'node:child_process';
import { chmodSync, copyFileSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { checks } from '../../core/doctor/checks.ts';
import { type Examination, runProbes } from '../../core/doctor/examine.ts';
import { OwnedFd } from '../../core/owned-fd.ts';
import { native } from '../../native/index.ts';
import { packagePath } from '../../native/package-path.ts';
import { ratchet } from '../cli/ratchet.ts';
import { assemble, verdict } from '../native/assemble.ts';
import { buildProgram } from '../native/build-program.ts';

const program = packagePath('build/Release/ratchet-probe');

type Found = ReadonlyMap<string, { readonly errno: number; readonly detail: string }>;

/** The findings under a wrapper that takes something away, by probe. */
function probeUnder(wrapper: readonly string[], filterFd: number | 'ignore' = 'ignore'): Found {
  const folder = mkdtempSync(join(tmpdir(), 'ratchet-doctor-'));
  try {
    chmodSync(folder, 0o755);
    // Another user may not be able to reach the checkout.
    const copy = join(folder, 'probe');
    copyFileSync(program, copy);
    const [command = '', ...rest] = [...wrapper, copy];
    const { stdout } = spawnSync(command, rest, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit', filterFd] });
    const lines = stdout.trimEnd().split('\n');
    return new Map(lines.map((line) => JSON.parse(line)).map(({ probe, errno, detail }) => [probe, { errno, detail }]));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** As in a container: under a filter that refuses these calls with EPERM, with somebody else's listener or without. */
function probeInContainer(refused: readonly number[], ...how: readonly string[]): Found {
  const rules = refused.map((nr) => ({ nr, verdict: verdict.errno(1) }));
  using filter = new OwnedFd(native.memfd({ name: 'container', data: assemble(rules), seal: true }));
  return probeUnder([buildProgram('under-filter'), ...how, '3'], filter.fd);
}

const ordinaryUser = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'];

describe('the probes', () => {
  it('are those that the doctor explains', () => {
    expect(
      runProbes()
        .map(({ probe }) => probe)
        .sort(),
    ).toEqual(checks.map(({ probe }) => probe).sort());
  });

  it('find on this machine what its tests rely on', () => {
    const missing = runProbes().filter(({ errno }) => errno !== 0);
    const must = checks.filter(({ need }) => need === 'must').map(({ probe }) => probe);
    expect(missing.filter(({ probe }) => must.includes(probe))).toEqual([]);
  });

  it('see that an ordinary user may not read programs back, or open devices', () => {
    const found = probeUnder(ordinaryUser);
    expect(found.get('read-back')).toEqual({ errno: 13, detail: 'PTRACE_SECCOMP_GET_FILTER' });
    expect(found.get('audit')).toEqual({ errno: 1, detail: 'bind' });
    for (const probe of ['filter', 'tsync', 'listener', 'addfd', 'pidfd-getfd', 'ptrace'])
      expect([probe, found.get(probe)]).toEqual([probe, { errno: 0, detail: '' }]);
  });

  it('see a low limit of open files that cannot be raised', () => {
    const found = probeUnder(['prlimit', '--nofile=4096:4096', ...ordinaryUser]);
    expect(found.get('open-files')).toEqual({ errno: 1, detail: 'setrlimit' });
  });

  it("see a container's filter, and what it refuses", () => {
    const ptrace = 101;
    const closeRange = 436;
    const found = probeInContainer([ptrace, closeRange]);
    expect(found.get('own-filters')?.errno).toBe(16);
    expect(found.get('ptrace')).toEqual({ errno: 1, detail: 'ptrace' });
    expect(found.get('close-range')).toEqual({ errno: 1, detail: 'close_range' });
    expect(found.get('filter')).toEqual({ errno: 0, detail: '' });
  });

  it('see a supervisor that is there already', () => {
    const found = probeInContainer([], 'listener');
    for (const probe of ['listener', 'wait-killable', 'addfd'])
      expect(found.get(probe)).toEqual({ errno: 16, detail: 'somebody else supervises this process already' });
  });

  it('leave no process behind', () => {
    const children = () => readFileSync(`/proc/self/task/${process.pid}/children`, 'utf8');
    const before = children();
    runProbes();
    expect(children()).toBe(before);
  });
});

describe('ratchet doctor', () => {
  it('says yes or no by its exit status, and the same in JSON', () => {
    const { status, stdout } = ratchet('doctor', '--json');
    const { ok, findings } = JSON.parse(stdout) as Examination;
    expect(status).toBe(ok ? 0 : 1);
    expect(ok).toBe(findings.every(({ need, works }) => works || need === 'feature'));
    for (const { works, lost, cure, errno } of findings)
      expect([lost !== '', cure !== '', errno !== '']).toEqual(Array(3).fill(!works));
  });

  it('prints a table, and what each miss costs', () => {
    const { stdout } = ratchet('doctor');
    expect(stdout).toMatch(/^works +need +what +found\n/);
    expect(stdout).toMatch(/yes +must +seccomp filters/);
    expect(stdout).toMatch(/The shipped profile can (NOT )?be enforced fully here\.\n$/);
  });
});
