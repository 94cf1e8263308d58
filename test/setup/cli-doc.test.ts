// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';

const document = readFileSync('docs/cli.md', 'utf8');
/** Each is a process of its own: asked for once. */
const helpTexts = new Map<string, string>();
const commands = subcommandsOf([]);
// The socket is only connected to when a command is carried out.
const controlCommands = subcommandsOf(['ctl', 'PATH']);

describe('docs/cli.md', () => {
  test('has every command, and no other', () => {
    const headings = [...document.matchAll(/^## `ratchet (\w+)/gm)].map(([, name]) => name);
    const [, profiles = ''] = document.split('## Profiles');
    const rows = [...profiles.matchAll(/^\| `(\w+) /gm)].map(([, name]) => name);
    expect([...new Set([...headings, ...rows])].sort()).toEqual([...commands].sort());
  });

  test('has every control command, and no other', () => {
    const [, section = ''] = document.split('## `ratchet ctl');
    const [table = ''] = section.split('`status --json`');
    const rows = [...table.matchAll(/^\| `(\w+)/gm)].map(([, name]) => name);
    expect([...new Set(rows)].sort()).toEqual([...controlCommands].sort());
  });

  test.each(commands.map((name) => [name]))('names every option of %s', (name) => {
    for (const option of optionsOf([name])) expect(document).toContain(option);
  });

  test.each(controlCommands.map((name) => [name]))('names every option of ctl %s', (name) => {
    const below = subcommandsOf(['ctl', 'PATH', name]);
    const all = below.length === 0 ? [[name]] : below.map((sub) => [name, sub]);
    for (const path of all)
      for (const option of optionsOf(['ctl', 'PATH', ...path])) expect(document).toContain(option);
  });
});

function help(path: readonly string[]): string {
  const key = path.join(' ');
  const text =
    helpTexts.get(key) ??
    execFileSync(process.execPath, ['dist/core/cli/main.js', ...path, '--help'], { encoding: 'utf8' });
  helpTexts.set(key, text);
  return text;
}

function subcommandsOf(path: readonly string[]): readonly string[] {
  const [, list = ''] = help(path).split('\nCommands:\n');
  const [block = ''] = list.split('\n\n');
  return [...block.matchAll(/^ {2}(\w+)/gm)].flatMap(([, name]) =>
    name === undefined || name === 'help' ? [] : [name],
  );
}

function optionsOf(path: readonly string[]): readonly string[] {
  return [...help(path).matchAll(/^ {2}(?:-\w, )?(--[\w-]+)/gm)].flatMap(([, option]) =>
    option === undefined || option === '--help' ? [] : [option],
  );
}
