// SPDX-License-Identifier: Apache-2.0
// Which program a name means must be nobody else's choice: not by its file, nor by a folder or a link on the way.
import { chmodSync, chownSync, copyFileSync, mkdirSync, symlinkSync } from 'node:fs';
import { expect, test } from 'vitest';
import { pinFile } from '../../core/programs/pinned-file.ts';
import { scratch } from '../brokers/rig.ts';

test.each([
  ['a folder of this user', 0o755, 0, undefined],
  ['a folder in which nobody moves what is another’s', 0o1777, 0, undefined],
  ['a folder that everybody may change', 0o777, 0, /open, on the way to the program .* can be written to/],
  ['a folder of another user', 0o755, 4242, /open, on the way to the program .* belongs to another user \(4242\)/],
])('a program in %s, and a link to one there', (_, mode, owner, refusal) => {
  using folder = scratch();
  const open = `${folder.path}/open`;
  mkdirSync(open);
  copyFileSync('/bin/cat', `${open}/program`);
  symlinkSync('/bin/cat', `${open}/link`);
  chmodSync(open, mode);
  chownSync(open, owner, 0);
  for (const name of ['program', 'link'])
    if (refusal === undefined) expect(pinFile(`${open}/${name}`).path).toMatch(/\/(program|cat)$/);
    else
      expect(() => pinFile(`${open}/${name}`)).toThrow(
        expect.objectContaining({ code: 'PROFILE_INVALID', message: expect.stringMatching(refusal) }),
      );
});
