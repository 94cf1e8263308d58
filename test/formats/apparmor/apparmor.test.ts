// SPDX-License-Identifier: Apache-2.0
// What AppArmor's own compiler reads in an export.
import { spawnSync } from 'node:child_process';
import { describe, expect, test } from 'vitest';
import { exportAppArmor } from '../../../core/formats/apparmor/apparmor.ts';
import { loadLayers, loadProfile } from '../../../core/profile-files.ts';
import { exportSmall, smallProfile } from './facts.ts';

interface Read {
  readonly name: string;
  /** By path pattern, as AppArmor has it. */
  readonly files: ReadonlyMap<string, string>;
  readonly network: string;
  readonly rest: readonly string[];
}

/** The profile as the compiler prints what it understood. @throws when it refuses it. */
function readBack(document: string): Read {
  const compile = (...args: readonly string[]) => {
    const { status, stdout, stderr } = spawnSync(
      'apparmor_parser',
      ['-Q', '-K', '-q', '--Werror', '--kernel-features', '/etc/apparmor.d/abi/3.0', ...args],
      {
        input: document,
        encoding: 'utf8',
      },
    );
    if (status !== 0) throw new Error(`${stderr}\n${document}`);
    return stdout;
  };
  compile();
  const text = compile('-d');
  const files = [...text.matchAll(/^Mode:\t(\S+?):\S*\t(?:.*?)Name:\t\((.*)\)$/gm)].map(
    ([, mode = '', name = '']) => [name, mode] as const,
  );
  return {
    name: /^Name:\t\t(.*)$/m.exec(text)?.[1] ?? '',
    files: new Map(files.map(([name, mode]) => [name, [...mode].sort().join('')])),
    network: /^Network: (.*)$/m.exec(text)?.[1]?.trim() ?? '',
    rest: text.split('\n').slice(text.split('\n').findIndex((line) => line.startsWith('Mode:'))),
  };
}

describe('an AppArmor profile', () => {
  test('lists the files that layers let be read, and those that the broker may open, as they stand', () => {
    const { document } = exportSmall({
      text: smallProfile({ read: ['/usr', '/dev/null', '/odd [name]/a,b'] }),
      allow: ['open=/images/*.qcow2', 'open=/firmware/**:ro', 'open=/images/quote".img'],
    });
    const { files, name } = readBack(document);
    expect(name).toBe('ratchet-small');
    expect(files.get('/usr{,/,/**}')).toBe('mr');
    expect(files.get('/dev/null{,/,/**}')).toBe('r');
    expect(files.get('/odd \\[name\\]/a\\,b{,/,/**}')).toBe('mr');
    expect(files.get('/images/*.qcow2')).toBe('arw');
    expect(files.get('/firmware/**')).toBe('r');
    expect([...files.keys()].filter((path) => path.includes('quote'))).toHaveLength(1);
  });

  test('lets whole folders be listed, and files be linked in them', () => {
    const text = smallProfile({ folders: '\n    folders: whole' });
    const { files } = readBack(exportSmall({ text, allow: ['open=/srv/share/**', 'open=/srv/other/**:ro'] }).document);
    expect(files.get('/srv/share/**')).toBe('alrw');
    expect(files.get('/srv/share/')).toBe('r');
    expect(files.get('/srv/other/**')).toBe('r');
  });

  test('takes a star of a layer or of the program for a character, as Landlock does, and refuses what it cannot write', () => {
    const { document } = exportSmall({ text: smallProfile({ read: ['/srv/*', '/srv/**'] }), program: '/opt/a*b' });
    const { files } = readBack(document);
    expect([...files.keys()]).toEqual(
      expect.arrayContaining(['/srv/\\*{,/,/**}', '/srv/\\*\\*{,/,/**}', '/opt/a\\*b']),
    );
    for (const path of ['/srv/a\\', '/srv/a\nb'])
      expect(() => exportSmall({ program: path })).toThrow('AppArmor cannot be told of the path');
  });

  test('maps code only where the stage does', () => {
    expect(readBack(exportSmall({ stage: 'running' }).document).files.get('/usr{,/,/**}')).toBe('r');
  });

  test('has the sockets that the filter permits, and those that its broker hands over', () => {
    const text = smallProfile({
      sockets: 'domain == AF_INET and type only SOCK_DGRAM|SOCK_CLOEXEC and type has SOCK_DGRAM',
    });
    expect(readBack(exportSmall({ text }).document).network).toMatch(/^inet \{ dgram \}$/);
    const allow = ['connect=tcp:[::1]:1', 'bind=vsock:3:1'];
    expect(readBack(exportSmall({ allow }).document).network).toMatch(
      /^inet6 \{ stream \} vsock \{ stream seqpacket \}$/,
    );
  });

  test('refuses all capabilities, mounts, programs, and to trace or signal others', () => {
    const { document } = exportSmall({});
    const text = spawnSync('apparmor_parser', ['-Q', '-K', '-q', '-d'], { input: document, encoding: 'utf8' }).stdout;
    expect(text).toMatch(/^Deny Caps:.* chown .* sys_admin .*sys_ptrace/m);
    expect(text).toMatch(/^mount .*deny/m);
    expect(text).toMatch(/^ptrace \(readby tracedby \) unconfined,$/m);
    expect(text).toMatch(/^signal \(receive \) unconfined,$/m);
    expect(document).toContain('audit deny /** x,');
    expect(document).toContain('set rlimit core <= 0,');
  });

  test('says of a stage that starts programs that none is started here', () => {
    const text = smallProfile({
      extra: '      - allow: [execve]\n        why: starts one\n        risk: for the test\n',
    });
    const { document, notes } = exportSmall({ text });
    expect(document).not.toContain(' x,');
    expect(notes.join('\n')).toContain('the stage permits execve');
  });

  test('tells what it cannot say', () => {
    const { notes } = exportSmall({ allow: ['connect=tcp:127.0.0.1:4444', 'device=char:10:232'] });
    expect(notes.join('\n')).toContain('connect=tcp:127.0.0.1:4444');
    expect(notes.join('\n')).toContain('device=char:10:232');
    expect(notes.join('\n')).toContain('it holds for running too');
  });

  test('is not made of a profile whose files are not known', () => {
    const profile = loadProfile('swtpm');
    const [stage] = profile.stages;
    if (stage === undefined) throw new Error('no stage');
    expect(() => exportAppArmor({ profile, stage, layers: undefined, name: 'x' })).toThrow(
      'has no layers: its files are not known',
    );
  });

  test.each(['qemu', 'qemu-storage-daemon', 'swtpm', 'passt', 'virtiofsd'])(
    'of %s compiles, for each stage',
    (name) => {
      const profile = loadProfile(name);
      for (const stage of profile.stages) {
        const { document } = exportAppArmor({ profile, stage, layers: loadLayers(name), name: `ratchet-${name}` });
        expect(readBack(document).name).toBe(`ratchet-${name}`);
      }
    },
  );
});
