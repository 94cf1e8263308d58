// SPDX-License-Identifier: Apache-2.0
// Debian's libseccomp, through a small program: the same rules to its BPF.

import { execFileSync } from 'node:child_process';
import { mkdirSync, statSync } from 'node:fs';
import type { CallCounts } from '../../core/compiler/index.ts';
import { encodeAction } from '../../core/simulator/index.ts';
import { packagePath } from '../../native/package-path.ts';
import type { Expressible } from './expressible.ts';

export type PeerShape =
  /** A list in the order of the numbers' priorities, frequent first. */
  | { readonly kind: 'linear'; readonly counts: CallCounts }
  /** SCMP_FLTATR_CTL_OPTIMIZE 2, which ignores priorities. */
  | { readonly kind: 'tree' };

export function libseccompProgram({ policy, rules }: Expressible, shape: PeerShape): Buffer {
  const lines = [`default ${encodeAction(policy.otherwise)}`];
  if (shape.kind === 'tree') lines.push('optimize 2');
  else {
    const named = new Set(rules.map(({ nr }) => nr));
    const frequent = [...shape.counts.calls].filter(([nr]) => named.has(nr)).sort(([, a], [, b]) => b - a);
    // Priorities have 8 bits: ranks keep the order where scaled counts would lose it.
    frequent.slice(0, 255).forEach(([nr], rank) => {
      lines.push(`priority ${nr} ${255 - rank}`);
    });
  }
  for (const { action, nr, when } of rules) {
    const comparisons = [...when].map(([arg, { mask, value }]) => ` ${arg} ${mask} ${value}`);
    lines.push(`rule ${action} ${nr}${comparisons.join('')}`);
  }
  return execFileSync(buildPeer('libseccomp', ['-lseccomp']), { input: `${lines.join('\n')}\n` });
}

/** Nanoseconds that attaching takes, a row a program; measured in turns. */
export function attachTimes(files: readonly string[], rounds: number): number[][] {
  const text = execFileSync(buildPeer('attach', []), [String(rounds), ...files], { encoding: 'utf8' });
  return text
    .trim()
    .split('\n')
    .map((line) => line.trim().split(' ').map(Number));
}

function buildPeer(name: string, libraries: readonly string[]): string {
  const source = packagePath(`test/bench/peers/${name}.c`);
  const program = packagePath(`build/bench/${name}`);
  const built = statSync(program, { throwIfNoEntry: false });
  if (built !== undefined && built.mtimeMs > statSync(source).mtimeMs) return program;
  mkdirSync(packagePath('build/bench'), { recursive: true });
  try {
    execFileSync('cc', ['-O2', '-Wall', '-Wextra', '-Werror', '-D_GNU_SOURCE', '-o', program, source, ...libraries], {
      stdio: ['ignore', 'inherit', 'inherit'],
    });
  } catch (cause) {
    throw new Error(`${source} does not compile; Debian's libseccomp-dev and gcc are needed`, { cause });
  }
  return program;
}
