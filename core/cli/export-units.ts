// SPDX-License-Identifier: Apache-2.0
import { join, resolve } from 'node:path';
import { packagePath } from '../../native/package-path.ts';
import { RatchetError } from '../errors.ts';
import { systemdUnits } from '../formats/systemd-units.ts';
import { loadLayers, loadProfile, shippedProfiles } from '../profile-files.ts';
import { print } from './output.ts';
import { writeOutput } from './write-output.ts';

interface UnitOptions {
  readonly feature: readonly string[];
  readonly output: string;
}

/** Into a folder, under the names that systemd looks for; or one after the other on standard output. Other options than these say nothing of a unit. */
export function exportUnits(
  profile: string,
  format: string,
  options: UnitOptions & Readonly<Record<string, unknown>>,
): void {
  if (format !== 'systemd')
    throw new RatchetError('ARGUMENT_INVALID', `${format} has no units`, { next: 'export to systemd' });
  const said = ['stage', 'role', 'arch', 'program', 'listener', 'json'].find((name) => options[name] !== undefined);
  if (said !== undefined)
    throw new RatchetError('ARGUMENT_INVALID', `a unit does not depend on --${said}`, { next: `leave --${said} out` });
  loadProfile(profile, { features: options.feature });
  const units = systemdUnits({
    profile: shippedProfiles().includes(profile) ? profile : resolve(profile),
    features: options.feature,
    layers: loadLayers(profile),
    command: [process.execPath, packagePath('dist/core/cli/main.js')],
  });
  for (const { fileName, text } of units)
    if (options.output === '-') print(`# ${fileName}\n${text}`);
    else writeOutput(join(options.output, fileName), text);
}
