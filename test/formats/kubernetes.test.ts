// SPDX-License-Identifier: Apache-2.0
// The examples for Kubernetes, as far as they can be held without a cluster: their form, what they share, and the files that they name.
import { readdirSync, readFileSync } from 'node:fs';
import { load as parse } from 'js-yaml';
import { afterAll, describe, expect, test } from 'vitest';
import { packagePath } from '../../native/package-path.ts';
import { Folder } from '../cli/fixtures.ts';
import { ratchet } from '../cli/ratchet.ts';

const folder = new Folder();
afterAll(() => folder[Symbol.dispose]());

interface Container {
  readonly name: string;
  readonly command: readonly string[];
  readonly volumeMounts: readonly { readonly name: string; readonly mountPath: string }[];
  readonly securityContext: Readonly<Record<string, unknown>> & {
    readonly seccompProfile: { readonly type: string; readonly localhostProfile?: string };
  };
}

interface Pod {
  readonly apiVersion: string;
  readonly kind: string;
  readonly spec: Readonly<Record<string, unknown>> & {
    readonly containers: readonly Container[];
    readonly volumes: readonly { readonly name: string }[];
  };
}

const text = (name: string) => readFileSync(packagePath(`examples/kubernetes/${name}`), 'utf8');
const pods = readdirSync(packagePath('examples/kubernetes')).filter((name) => name.endsWith('.yaml'));

describe.each(pods)('%s', (name) => {
  const pod = parse(text(name)) as Pod;

  test('is a pod whose mounts have their volumes, and whose containers have no more rights than they need', () => {
    expect(pod).toMatchObject({ apiVersion: 'v1', kind: 'Pod' });
    const volumes = pod.spec.volumes.map((volume) => volume.name);
    for (const { volumeMounts, securityContext } of pod.spec.containers) {
      for (const mount of volumeMounts) expect(volumes).toContain(mount.name);
      expect(securityContext).toMatchObject({
        runAsNonRoot: true,
        allowPrivilegeEscalation: false,
        capabilities: { drop: ['ALL'] },
      });
    }
  });

  test('shares no namespace', () => {
    for (const key of ['shareProcessNamespace', 'hostPID', 'hostNetwork', 'hostIPC'])
      expect(pod.spec[key]).toBeUndefined();
  });
});

test('the VM and its agent share the folder of the sockets alone, and are one user', () => {
  const { containers } = (parse(text('pod.yaml')) as Pod).spec;
  const [vm, agent] = containers.map(({ volumeMounts }) => volumeMounts.map(({ name }) => name));
  expect(vm?.filter((name) => agent?.includes(name))).toEqual(['doors']);
  expect(agent).toEqual(['doors']);
  expect(new Set(containers.map(({ securityContext }) => securityContext['runAsUser'])).size).toBe(1);
});

test('the local profile of the storage daemon is what the command beside it writes, and nothing permits more', () => {
  const command = /^# {3}ratchet (export .*)$/m.exec(text('storage.yaml'))?.[1]?.split(' ') ?? [];
  const args = command.map((word) =>
    word.startsWith('/var/lib/kubelet/seccomp') ? word.replace('/var/lib/kubelet/seccomp', folder.path) : word,
  );
  expect(ratchet(...args, '--set', 'kernel=/vmlinuz', '--set', 'initrd=/initrd')).toMatchObject({ status: 0 });
  const [container] = (parse(text('storage.yaml')) as Pod).spec.containers;
  const { type, localhostProfile = '' } = container?.securityContext.seccompProfile ?? { type: '' };
  expect(type).toBe('Localhost');
  const differs = ratchet('diff', 'qemu-storage-daemon:start', folder.file(localhostProfile), '--json');
  const { onlyInB, changed } = JSON.parse(differs.stdout) as {
    onlyInB: readonly unknown[];
    changed: readonly { syscall: string; b: string }[];
  };
  const looser = changed.filter(({ b }) => b === 'ALLOW').map(({ syscall }) => syscall);
  expect(onlyInB).toEqual(['execve']);
  expect(looser.filter((name) => name !== 'execve')).toEqual([]);
});

test('a later stage’s document is the intersection of all stages up to it', () => {
  // Stages only tighten (proven at load time), so the last one's policy is the effective one: it permits nothing that the first refuses.
  const first = folder.file('first.json');
  const last = folder.file('last.json');
  for (const [stage, file] of [
    ['start', first],
    ['running', last],
  ] as const)
    expect(ratchet('export', '--to', 'oci', 'swtpm', '--stage', stage, '--arch', 'x86_64', '-o', file).status).toBe(0);
  const { onlyInB, changed } = JSON.parse(ratchet('diff', '--arch', 'x86_64', '--json', first, last).stdout) as {
    onlyInB: readonly unknown[];
    changed: readonly { b: string }[];
  };
  expect(onlyInB).toEqual([]);
  expect(changed.filter(({ b }) => b === 'ALLOW')).toEqual([]);
});
