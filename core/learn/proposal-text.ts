// SPDX-License-Identifier: Apache-2.0
// A proposal as YAML to paste under a stage, with what a reviewer must know as comments.

import { dump } from 'js-yaml';
import { dangerousCalls } from '../policy/dangerous.ts';
import type { Proposal } from './proposal.ts';

/** The beginning of every `why` that nobody has written yet; a profile that has one does not load. */
export const unreviewed = 'TODO';

export function proposalText(proposal: Proposal, source: string, profile: string): string {
  const { stage, calls, threads, syscalls, rules, refused, unseen } = proposal;
  const once = syscalls.filter(({ count }) => count === 1).map(({ syscall }) => syscall);
  const inThreads = threads === 0 ? '' : ` by ${threads} threads`;
  const head = [
    `Seen: ${calls} calls${inThreads}, ${syscalls.length} different ones (${source}).`,
    `Held against stage ${stage} of ${profile}. A recording has no stages: it shows what was called, not when it must be permitted.`,
    ...wrapped(`Seen once only, so others like it may be missing: ${once.join(' ') || 'none'}.`),
    ...wrapped(`Permitted and not seen, so not exercised by this recording: ${unseen.join(' ') || 'none'}.`),
    'What did not happen in the recording (hotplug, migration, a failing disk, another C library) is not covered by it.',
    ...refused.flatMap(({ syscall, count, answer, rule }) =>
      wrapped(
        `Refused on purpose, nothing is proposed: ${syscall} (${count} times, ${answer}) by ${rule.file}:${rule.line}: ${rule.why}`,
      ),
    ),
  ];
  const comment = head.map((line) => `# ${line}\n`).join('');
  if (rules.length === 0) return `${comment}# Everything that was seen is permitted, brokered or refused by a rule.\n`;
  const list = rules.map(({ allow, when, count }) => ({
    allow,
    ...(when === undefined ? {} : { when }),
    why: `${unreviewed}: who makes this call, and for what (seen ${count} times)`,
    ...(when === undefined && allow.some((name) => dangerousCalls.has(name))
      ? { risk: `${unreviewed}: what it may do here without a condition, and why that is accepted` }
      : {}),
  }));
  return `${comment}# Replace each ${unreviewed}: until then a profile with these rules does not load.\n${dump({ syscalls: list }, { lineWidth: 120, noRefs: true })}`;
}

function wrapped(text: string): readonly string[] {
  const lines: string[] = [];
  for (const word of text.replace(/\s+/g, ' ').split(' ')) {
    const last = lines.at(-1);
    if (last === undefined || last.length + word.length > 118) lines.push(lines.length === 0 ? word : `  ${word}`);
    else lines[lines.length - 1] = `${last} ${word}`;
  }
  return lines;
}
